"""What `make ablation` ships: of the shipped plans, in step with the other results, and the table in the document."""

import json
from pathlib import Path

import pytest

from data_samples.studies.ablation import ABLATION, table
from data_samples.studies.results import PROFILES, RESULTS
from halfv_core import Plan, Profile
from halfv_core.models import bundled_models
from probe.evaluation.variants import variants_of

PAGE = Path(__file__).parents[4] / "docs" / "results.md"
SHIPPED = json.loads(ABLATION.read_text(encoding="utf-8"))
RESULTS_BY_MODEL = {one["model"]: one for one in json.loads(RESULTS.read_text(encoding="utf-8"))}


def test_every_model_was_taken_apart_on_all_held_out_scenes() -> None:
    assert [one["model_id"] for one in SHIPPED] == sorted(bundled_models())
    assert {(one["samples"], one["data"], one["calibrated_on"]) for one in SHIPPED} == {(300, "scenes-heldout", 0)}


@pytest.mark.parametrize("one", SHIPPED, ids=lambda one: one["model_id"])
def test_the_variants_are_those_of_the_shipped_profile(one: dict[str, dict[str, dict[str, object]]]) -> None:
    plans, missing = variants_of(Profile.load(PROFILES / f"{one['model_id']}.json"))
    assert {name: Plan.model_validate(found["plan"]) for name, found in one["variants"].items()} == plans
    assert one["missing"] == missing


@pytest.mark.parametrize("one", SHIPPED, ids=lambda one: one["model_id"])
def test_full_model_and_whole_plan_are_as_in_the_results(one: dict[str, dict[str, dict[str, float]]]) -> None:
    result, variants = RESULTS_BY_MODEL[one["model_id"]], one["variants"]
    assert variants["full"]["accuracy"] == pytest.approx(result["accuracy_full"])
    plan = Profile.load(PROFILES / f"{one['model_id']}.json").plan
    whole = next(found for found in variants.values() if Plan.model_validate(found["plan"]) == plan)
    assert [whole[name] for name in ("accuracy", "retention", "flops_ratio", "kv_ratio")] == pytest.approx(
        [result[name] for name in ("accuracy_accelerated", "retention", "flops_ratio", "kv_ratio")]
    )


def test_the_table_in_the_document_is_that_of_the_record() -> None:
    assert table(SHIPPED) in PAGE.read_text(encoding="utf-8")
