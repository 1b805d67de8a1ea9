"""The adapters in the repository: trained to the end by the recipe that is in it, on the bases that the page names."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from data_samples.making.backbones.__main__ import SETTINGS, read_settings
from data_samples.making.backbones.adapters import RECIPE, WEIGHTS
from data_samples.studies.backbones_records import RECORDS, read_records
from data_samples.studies.backbones_tables import PAGE

ADAPTERS = RECORDS / "adapters"
LARGEST = 30_000_000
"""Bytes of a file of adapters."""


@pytest.mark.parametrize("name", sorted(path.name for path in ADAPTERS.iterdir()))
class TestAdapters:
    def test_the_recipe_is_the_one_in_the_repository(self, name: str) -> None:
        recipe = _recipe(ADAPTERS / name)
        assert recipe["settings"] == read_settings(SETTINGS, composed=bool(recipe.get("cutouts")))
        assert recipe["step"] == recipe["settings"]["answer"]["steps"]

    def test_the_page_names_the_bases(self, name: str) -> None:
        page = PAGE.read_text(encoding="utf-8")
        assert all(digest in page for digest in _recipe(ADAPTERS / name)["sha256"].values())

    def test_what_was_measured_was_measured_with_them(self, name: str) -> None:
        assert read_records()[name].recipe == _recipe(ADAPTERS / name)

    def test_there_is_an_update_for_each_linear_layer(self, name: str) -> None:
        path = ADAPTERS / name / WEIGHTS
        assert path.stat().st_size < LARGEST
        layers, rank = read_records()[name].layers, _recipe(ADAPTERS / name)["settings"]["rank"]
        with safe_open(path, framework="pt") as weights:
            shapes = {key: tuple(weights.get_slice(key).get_shape()) for key in weights.keys()}
        updates = {key: shape for key, shape in shapes.items() if key.startswith("lora.")}
        assert len(updates) == layers * 7 * 2  # four projections of attention, three of the MLP; two matrices each
        assert all(rank in shape for shape in updates.values())
        assert {key for key in shapes if key not in updates} == {
            f"projector.linear_{number}.{part}" for number in (1, 2) for part in ("weight", "bias")
        }


def _recipe(folder: Path) -> dict[str, Any]:
    recipe: dict[str, Any] = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
    return recipe
