"""`halfv-probe methods`, and methods by name in other commands."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from cli.main import app
from cli.methods import listed_methods
from cli.plan_options import MethodOptions
from halfv_core import Keep, Plan, Profile
from halfv_core.bundled import BUNDLED
from halfv_core.errors import HalfVError, PlanError, ProfileError
from halfv_core.families import FAMILIES
from halfv_core.methods import METHODS
from tests.tiny import tiny_model

PROFILE = BUNDLED / "profiles" / "tiny-qwen2.5-vl.json"


def test_methods_lists_every_name() -> None:
    table = CliRunner().invoke(app, ["methods"], env={"COLUMNS": "200"}).stdout
    assert all(f"\n{name} " in table for name in METHODS)


def test_methods_as_json() -> None:
    found = json.loads(CliRunner().invoke(app, ["methods", "--json"]).stdout)
    assert [row["name"] for row in found] == sorted(METHODS)
    assert found == listed_methods()


def test_the_page_has_the_same_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "methods.md").read_text(encoding="utf-8")
    for row in listed_methods():
        asks = "yes" if row["question_aware"] else "no"
        cells = [f"`{row['name']}`", f"{row['title']} ({row['source']})", asks, row["where"], row["looks_at"]]
        assert f"| {' | '.join([*cells, row['families']])} |" in page


def test_families_whose_vision_tower_is_known() -> None:
    assert {name for name, family in FAMILIES.items() if family.tower} == {
        "llava",
        "llava_next",
        "qwen2_vl",
        "qwen2_5_vl",
        "qwen3_vl",
    }


def test_generate_with_a_method(tmp_path: Path) -> None:
    Image.new("RGB", (224, 224), "red").save(tmp_path / "red.png")
    words = ["generate", "--model", "tiny-qwen2.5-vl", "--image", str(tmp_path / "red.png"), "--prompt", "What is it?"]
    options = ["--method", "fastv", "--flops", "1.5", "--compare", "--max-new-tokens", "2", "--json"]
    result = CliRunner().invoke(app, [*words, *options], catch_exceptions=False)
    found = json.loads(result.stdout)
    assert set(found) == {"full", "accelerated"}
    assert found["accelerated"]["flops_ratio"] == pytest.approx(1.5, rel=0.05)


def test_the_plan_of_a_method() -> None:
    config = tiny_model("llava").config
    assert MethodOptions().plan(config, 16, 10) is None
    assert MethodOptions("vtw").plan(config, 16, 10) == Plan((Keep(layer=2, keep_ratio=0.0),))
    with pytest.raises(PlanError, match="ShortV cannot be used with this model: ShortV has to measure first"):
        MethodOptions("shortv").plan(config, 16, 10)
    with pytest.raises(ProfileError, match="made for another model"):
        MethodOptions("shortv").plan(config, 16, 10, Profile.load(PROFILE))
    with pytest.raises(PlanError, match="FastV cannot be set to this budget"):
        MethodOptions("fastv", 50.0).plan(config, 16, 10)


@pytest.mark.parametrize(
    "options, words",
    [
        (MethodOptions("magic"), "unknown method"),
        (MethodOptions(None, 2.0), "--flops is the budget of a method"),
        (MethodOptions("fastv", 0.5), "bad --flops"),
        (MethodOptions("fastv", float("nan")), "bad --flops"),
    ],
)
def test_what_is_refused_before_a_model_is_loaded(options: MethodOptions, words: str) -> None:
    with pytest.raises(HalfVError, match=words):
        options.check()
