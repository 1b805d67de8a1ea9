"""Observations: saved and loaded, tied to one calibration, and rejected if they are inconsistent."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from halfv_core.errors import DataError
from probe.calibration.observations import (
    Attention,
    Example,
    Observations,
    Picture,
    SampleCurves,
    Selection,
    beside,
)
from probe.common.region import Region
from tests.profiles import qwen_like

EXAMPLE = Example(
    id="a",
    question="How many?",
    references=("2",),
    full="2",
    accelerated="3",
    pictures=(Picture(width=8, height=4, webp="AAAA"),),
    regions=(Region(0, 0.0, 0.0, 0.5, 1.0), None),
    selections=(Selection(layer=2, selector="random", kept=(1,), anchors=()),),
    attentions=(Attention(layer=1, shares=(0.25, 0.5)),),
)


def observations(**given: Any) -> Observations:
    sample = SampleCurves(id="a", visual=(1.0, 2.0), text=(1.0, 2.0), joint=(1.0, 2.0), kl=(0.5,))
    fields = {"config_fingerprint": "f", "created": "now", "samples": (sample,), "examples": (EXAMPLE,)}
    return Observations(**fields | given)


def test_written_and_read_back(tmp_path: Path) -> None:
    observations().save(tmp_path / "o.json")
    assert Observations.load(tmp_path / "o.json") == observations()


def test_found_beside_the_profile_of_the_same_calibration(tmp_path: Path) -> None:
    path, profile = tmp_path / "profile.json", qwen_like()
    profile.save(path)
    assert beside(path) == tmp_path / "profile.observations.json"
    assert Observations.of(path) is None
    same = {"config_fingerprint": profile.provenance.config_fingerprint, "created": profile.provenance.created}
    observations(**same).save(beside(path))
    assert Observations.of(path) == observations(**same)
    for name in same:
        observations(**same | {name: "another"}).save(beside(path))
        assert Observations.of(path) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"examples": 3}', "\udcff", "x" * 9999])
def test_anything_else_is_one_clear_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "o.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match="holds no observations: .*; calibrate again") as raised:
        Observations.load(path)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400
    with pytest.raises(DataError, match="no such file"):
        Observations.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("selections", (Selection(layer=2, selector="random", kept=(2,), anchors=()),), "beyond the 2 there are"),
        ("selections", (Selection(layer=2, selector="random", kept=(), anchors=(5,)),), "beyond the 2 there are"),
        ("attentions", (Attention(layer=1, shares=(0.1,)),), "not one share for each of the 2"),
        ("regions", (Region(1, 0.0, 0.0, 1.0, 1.0), None), "an image beyond the 1 there are"),
    ],
)
def test_indices_must_fit(field: str, value: Any, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Example(**EXAMPLE.model_dump() | {field: value})
