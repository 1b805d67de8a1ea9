"""Profiles: the round trip, the golden file of schema version 1, and every way to be refused."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from halfv_core import HalfVError, Keep, Plan, Profile, apply
from halfv_core.bundled import BUNDLED
from halfv_core.profile import PublishedMethod, config_fingerprint, write_atomically
from tests.profiles import qwen_like
from tests.tiny import tiny_model

GOLDEN = Path(__file__).parents[2] / "golden" / "profile-v1.json"


def test_load_after_save_is_the_same(tmp_path: Path) -> None:
    profile = qwen_like()
    profile.save(tmp_path / "deep" / "p.json")
    assert Profile.load(tmp_path / "deep" / "p.json") == profile
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["p.json"]


def test_golden_file_of_version_1_still_reads() -> None:
    profile = Profile.load(GOLDEN)
    assert json.loads(GOLDEN.read_text()) == profile.model_dump(mode="json", exclude_unset=True)
    assert (profile.uncertainty, profile.saturation.confidence) == (None, None)


@pytest.mark.parametrize("name", ["tiny-llava", "tiny-llava-next", "tiny-qwen2.5-vl"])
def test_a_profile_without_a_method_is_written_as_before(name: str, tmp_path: Path) -> None:
    bundled = BUNDLED / "profiles" / f"{name}.json"
    Profile.load(bundled).save(tmp_path / "p.json")
    assert (tmp_path / "p.json").read_bytes() == bundled.read_bytes()


def test_a_method_is_kept_with_what_was_measured_for_it(tmp_path: Path) -> None:
    method = PublishedMethod(name="vtw", samples=4, withdrawal=(0.5,) * 28, head_weights=(0.25, 1.0))
    profile = qwen_like().model_copy(update={"method": method})
    profile.save(tmp_path / "p.json")
    assert Profile.load(tmp_path / "p.json") == profile
    found = json.loads((tmp_path / "p.json").read_text())
    found["method"]["withdrawal"].pop()
    (tmp_path / "short.json").write_text(json.dumps(found))
    with pytest.raises(HalfVError, match="method has a curve of 27 points for 28 layers"):
        Profile.load(tmp_path / "short.json")


def _frozen(text: str, layers: str) -> str:
    """The profile with a plan that freezes these layers."""
    plan = {"interventions": [{"kind": "freeze", "layers": json.loads(layers)}]}
    return json.dumps(json.loads(text) | {"plan": plan})


def _with_curves(text: str, **curves: object) -> str:
    """The profile with other curves of KL or sinks."""
    profile = json.loads(text)
    return json.dumps(profile | {"curves": profile["curves"] | curves})


def _sinks(points: int) -> dict[str, list[float]]:
    return {"tokens": [0.0] * 29, "norm_ratio": [1.0] * points, "entropy_without": [0.5] * 29}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[: len(text) // 2], "is not whole JSON"),
        (lambda text: "", "is not whole JSON"),
        (lambda text: "[1]", "got schema_version None; expected a profile of schema_version 1"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 99'), "got schema_version 99"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": true'), "got schema_version True"),
        (lambda text: "[" * 100_000, "is not JSON of a profile"),
        (lambda text: text.replace('"schema_version": 1', f'"schema_version": {"9" * 5000}'), "not JSON of a profile"),
        (lambda text: text.replace('"schema_version": 1', f'"schema_version": "{"x" * 10**6}"'), "got schema_version"),
        (lambda text: text.replace('"seed"', f'"{"x" * 10**6}"'), "Field required"),
        (lambda text: text.replace('"seed"', '"\\u001b[2J": 1, "seed"'), "[2J: Extra inputs"),
        (lambda text: _frozen(text, "[3, null]"), "layers"),
        (lambda text: _frozen(text, '[3, "x"]'), "layers"),
        (lambda text: _frozen(text, "[[3], {}]"), "layers"),
        (lambda text: text.replace('"seed"', '"sead"'), "Field required"),
        (lambda text: text.replace('"aggregation_start": 2,', '"aggregation_start": 2000000000,'), "aggregation_start"),
        (lambda text: text.replace('"aggregation_start": 2,', '"aggregation_start": -2,'), "aggregation_start"),
        (
            lambda text: text.replace('"aggregation_start": 2,', '"aggregation_start": 29,'),
            "29 of a decoder of 28 layers",
        ),
        (lambda text: text.replace('"low": 20,', '"low": 200000,'), "uncertainty.saturation_start.low"),
        (lambda text: _frozen(text, "[29]"), "plan names layer 29 of a decoder of 28 layers"),
        (lambda text: _frozen(text, "[2000000000]"), "layers"),
        (lambda text: text.replace('"keep_ratio": 0.25', '"keep_ratio": 7'), "keep_ratio"),
        (lambda text: text.replace('"selector": "anchor_coverage"', '"selector": "magic"'), "unknown selector"),
        (
            lambda text: _with_curves(text, kl_typical=[0.1] * 27),
            "kl_typical has 27 points, expected one for each of 28",
        ),
        (lambda text: _with_curves(text, text_sinks=_sinks(28)), "text_sinks.norm_ratio has 28 points, expected 29"),
    ],
)
def test_a_damaged_profile_is_one_clear_line(tmp_path: Path, damage: object, said: str) -> None:
    path = tmp_path / "p.json"
    text = qwen_like().model_dump_json(indent=1)
    assert damage(text) != text  # type: ignore[operator]
    path.write_text(damage(text))  # type: ignore[operator]
    with pytest.raises(HalfVError) as caught:
        Profile.load(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1500


def test_a_missing_profile_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(HalfVError, match="cannot read profile .*gone.json: No such file"):
        Profile.load(tmp_path / "gone.json")


def made_for(family: str) -> Profile:
    model = tiny_model(family)
    profile = qwen_like()
    provenance = profile.provenance.model_copy(
        update={"config_fingerprint": config_fingerprint(model.config), "model_type": model.config.model_type}
    )
    return profile.model_copy(update={"provenance": provenance, "plan": Plan((Keep(layer=2, keep_ratio=0.5),))})


def test_a_profile_fits_its_model_and_no_other() -> None:
    profile = made_for("llava")
    with apply(tiny_model("llava"), profile):
        pass
    with pytest.raises(HalfVError, match="made for another model; got qwen2_5_vl.*calibrate"):  # noqa: SIM117
        with apply(tiny_model("qwen2_5_vl"), profile):
            pass


def test_fingerprint_does_not_depend_on_how_many_names_the_depth_of_a_tower_has() -> None:
    def config(**names: int) -> Any:
        return SimpleNamespace(model_type="qwen2_5_vl", vision_config=SimpleNamespace(depth=4, **names))

    assert config_fingerprint(config()) == config_fingerprint(config(num_hidden_layers=4))
    assert config_fingerprint(config()) != config_fingerprint(config(num_hidden_layers=5))


def test_fingerprint_is_of_the_architecture_alone() -> None:
    one, two = tiny_model("llava").config, tiny_model("llava", seed=1, kernel="eager").config
    two.name_or_path, two.dtype = "elsewhere", "bfloat16"
    assert config_fingerprint(one) == config_fingerprint(two)
    two.text_config.num_hidden_layers += 1
    assert config_fingerprint(one) != config_fingerprint(two)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["p.json"]
