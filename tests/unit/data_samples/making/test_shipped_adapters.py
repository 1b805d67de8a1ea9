"""The adapters in the repository: trained by the recipe that is in it, on the bases that the page names."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from data_samples.making.backbones.__main__ import SETTINGS, read_settings
from data_samples.making.backbones.adapters import RECIPE, WEIGHTS
from data_samples.studies.backbones_records import ADAPTERS, read_records
from data_samples.studies.backbones_tables import PAGE

LAYERS = {"qwen2.5-0.5b": 24, "smollm2-135m": 30}
LARGEST = 30_000_000
"""Bytes of a file of adapters."""


@pytest.mark.parametrize("name", sorted(path.name for path in ADAPTERS.iterdir()))
class TestAdapters:
    def test_the_recipe_is_the_one_in_the_repository(self, name: str) -> None:
        recipe = _recipe(ADAPTERS / name)
        assert recipe["settings"] == read_settings(SETTINGS, composed=bool(recipe.get("cutouts")))

    def test_the_page_names_the_bases_and_the_steps(self, name: str) -> None:
        page, recipe = PAGE.read_text(encoding="utf-8"), _recipe(ADAPTERS / name)
        assert all(digest in page for digest in recipe["sha256"].values())
        steps = recipe["settings"]["answer"]["steps"]
        assert recipe["step"] == steps or f"{recipe['step']:,} of {steps:,} steps" in page

    def test_there_is_an_update_for_each_linear_layer(self, name: str) -> None:
        path = ADAPTERS / name / WEIGHTS
        assert path.stat().st_size < LARGEST
        rank = _recipe(ADAPTERS / name)["settings"]["rank"]
        with safe_open(path, framework="pt") as weights:
            shapes = {key: tuple(weights.get_slice(key).get_shape()) for key in weights.keys()}
        updates = {key: shape for key, shape in shapes.items() if key.startswith("lora.")}
        layers = Counter(int(key.split("/")[1]) for key in updates)
        assert sorted(layers) == list(range(LAYERS[name]))
        assert set(layers.values()) == {7 * 2}  # four projections of attention, three of the MLP; two matrices each
        assert all(rank in shape for shape in updates.values())
        assert {key for key in shapes if key not in updates} == {
            f"projector.linear_{number}.{part}" for number in (1, 2) for part in ("weight", "bias")
        }


@pytest.mark.parametrize("name", sorted(name for name, record in read_records().items() if record.recipe))
def test_what_was_measured_was_measured_with_them(name: str) -> None:
    record = read_records()[name]
    assert record.recipe == _recipe(ADAPTERS / name)
    assert record.layers == LAYERS[name]


def _recipe(folder: Path) -> dict[str, Any]:
    recipe: dict[str, Any] = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
    return recipe
