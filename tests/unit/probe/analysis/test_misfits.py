"""An analysis refuses findings that do not fit its model, its samples or its examples, whoever wrote the file."""

import json
from pathlib import Path
from typing import Any

import pytest

from halfv_core.errors import DataError
from probe.analysis.records import Analysis, is_analysis
from tests.analyses import analysis

CHANGES: dict[str, tuple[str, dict[str, Any], str]] = {
    "a curve": ("share_visual", {"mean": [1], "low": [1], "high": [1]}, "1 points instead of 4"),
    "a curve over states": ("answer", {"axis": "layers"}, "5 points instead of 4"),
    "a map of heads": ("visual_share_by_head", {"mean": [[1.0]]}, "1 layers instead of 4"),
    "a matrix": ("cka_text", {"mean": [[1.0]] * 5}, "1 columns instead of 5"),
    "a ragged matrix": ("cka_text", {"mean": [[1.0]] * 4 + [[1.0, 2.0]]}, "a varying number of columns instead of 5"),
    "a table of samples": ("kept", {"values": [[1.0]]}, "1 samples instead of 6"),
    "values of samples": ("kept", {"axis": "layers"}, "1 values a sample instead of 4"),
    "a map": ("contribution_0", {"values": [[1.0]] * 4}, "1 tokens instead of 4"),
    "words of patches": ("patches_0", {"words": [["a"] * 4] * 4}, "4 layers instead of 5"),
    "words": ("last_0", {"rows": []}, "0 layers instead of 5"),
    "words of heads": ("heads_0", {"rows": []}, "0 layers instead of 4"),
    "an example": ("contribution_0", {"example": "x"}, "no example 'x'"),
}


@pytest.fixture(scope="module")
def data() -> str:
    return analysis(layers=4, samples=6, examples=1, side=2).model_dump_json()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_does_not_fit_is_refused_in_one_line(
    change: tuple[str, dict[str, Any], str], data: str, tmp_path: Path
) -> None:
    name, fields, fault = change
    damaged = json.loads(data)
    (finding,) = [one for result in damaged["results"] for one in result["findings"] if one["name"] == name]
    finding.update(fields)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(damaged), encoding="utf-8")
    with pytest.raises(DataError) as refused:
        Analysis.load(path)
    assert f"finding '{name}' of probe" in str(refused.value) and fault in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_analysis_can_be_told_from_other_files(data: str) -> None:
    assert is_analysis(json.loads(data))
    assert not any(map(is_analysis, ({"kind": "comparison"}, [], "analysis", None)))
