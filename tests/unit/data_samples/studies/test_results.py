"""What `make results` ships: profiles that run on their models, and tables that say what was measured."""

import json
from pathlib import Path

import pytest

from data_samples.studies.results import PROFILES, RESULTS, families_table, models_table
from halfv_core import Profile, apply
from halfv_core.models import bundled_models, load_model
from probe import load_samples

ROOT = Path(__file__).parents[4]
MODELS = sorted(bundled_models())
SHIPPED = json.loads(RESULTS.read_text(encoding="utf-8"))


def test_every_model_has_results() -> None:
    assert [one["model"] for one in SHIPPED] == MODELS
    shipped = sorted(path.name for path in PROFILES.glob("*.json"))
    assert shipped == sorted(f"{model}{kind}.json" for model in MODELS for kind in ("", ".observations"))


@pytest.mark.parametrize("name", MODELS)
def test_a_shipped_profile_runs_on_its_model(name: str) -> None:
    model, processor, _ = load_model(name, device="cpu")
    profile = Profile.load(PROFILES / f"{name}.json")
    result = next(one for one in SHIPPED if one["model"] == name)
    assert result["aggregation_start"] == profile.stages.aggregation_start
    assert result["saturation_type"] == profile.saturation.type
    sample = load_samples("scenes")[0]
    inputs = processor.prompt(sample.open_images(), sample.prompt)
    with apply(model, profile) as run:
        model(**inputs)
    assert run.cost.flops_ratio == pytest.approx(result["flops_ratio"], rel=0.1)
    assert result["retention"] >= 0.9


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_the_tables_in_the_documents_are_those_of_the_results(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert models_table(SHIPPED) in text


def test_the_families_table_is_in_the_document() -> None:
    assert families_table(SHIPPED) in (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
