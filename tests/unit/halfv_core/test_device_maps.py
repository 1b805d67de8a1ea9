"""Device maps from files: read, checked against a model without memory, and made plain."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, PreTrainedModel
from transformers.integrations.accelerate import expand_device_map

from halfv_core.checkpoint_size import without_memory
from halfv_core.device_maps import fitted, read_device_map
from halfv_core.errors import ModelError
from halfv_core.models import bundled_models
from tests.tiny import tiny_model

FILE = Path("map.json")
DECODER = "model.language_model"


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two GPUs, of which the second is the present one."""
    monkeypatch.setattr("halfv_core.device_maps.check_device", torch.device)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)


def described(name: str = "tiny-qwen2.5-vl") -> PreTrainedModel:
    """Of 12 layers, so that the names of some begin with those of others."""
    return without_memory(AutoConfig.from_pretrained(bundled_models()[name]))


@pytest.mark.usefixtures("gpus")
def test_devices_are_read_as_accelerate_names_them(tmp_path: Path) -> None:
    given = {"": 0, "a": "cuda:1", "b": "cuda", "c": "cpu", "d": "disk", "e": "mps"}
    (tmp_path / "map.json").write_text(json.dumps(given))
    assert read_device_map(tmp_path / "map.json") == {"": 0, "a": 1, "b": 1, "c": "cpu", "d": "disk", "e": "mps"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read the device map .*; got No such file or directory; expected auto, balanced"),
        ("{", "cannot read the device map"),
        ("[0]", "is not a device map; got \\[0\\]"),
        ("{}", "is not a device map"),
        ('{"": true}', "names no device for ''; got True"),
        ('{"": null}', "names no device for ''; got None"),
        ('{"": 0.5}', "names no device for ''; got 0.5"),
        ('{"": "banana"}', "names a device that there is not, for ''; got 'banana'; expected cpu or .*disk"),
        ('{"lm_head": 97}', "names a device that there is not, for 'lm_head'; got 97"),
        ('{"": -1}', "names a device that there is not, for ''; got -1"),
        ('{"": "meta"}', "names a device that there is not, for ''; got 'meta'"),
    ],
)
def test_what_is_no_device_map_is_one_line(content: str | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "map.json").write_text(content)
    with pytest.raises(ModelError, match=said) as refused:
        read_device_map(tmp_path / "map.json")
    assert "\n" not in str(refused.value)


def test_every_weight_is_where_the_longest_name_says() -> None:
    """Also where `layers.1` is named and `layers.10` is not, which transformers would put together."""
    model = described()
    given: dict[str, Any] = {"": 1, DECODER: 0, f"{DECODER}.layers.1": "disk", f"{DECODER}.layers.3.mlp": "cpu"}
    weights = [name for name, _ in model.named_parameters()]

    def meant(weight: str) -> Any:
        return given[max((name for name in given if not name or weight.startswith(f"{name}.")), key=len)]

    expected = {weight: meant(weight) for weight in weights}
    assert expand_device_map(given, weights) != expected
    found = fitted(given, model, FILE)
    assert expand_device_map(found, weights) == expected
    assert not any(other.startswith(f"{name}.") for name in found for other in found)


def test_a_map_of_one_device_stays_as_it_is() -> None:
    assert fitted({"": "cpu"}, tiny_model("llava"), FILE) == {"": "cpu"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"": "cpu", "model.nothing": "cpu"}, "no module of LlavaNextFor.*; got 'model.nothing'; expected names as in"),
        ({"": "cpu", f"{DECODER}.layers.99": "cpu"}, "got 'model.language_model.layers.99'"),
        ({"": "cpu", f"{DECODER}.layers.1.mlp.up_proj.weight": "disk"}, "no module of .*mlp.up_proj.weight"),
        ({DECODER: 0}, "no device for parts of the model; got 'lm_head', 'model.image_newline', .*, ...; expected all"),
        (
            {"": 0, f"{DECODER}.layers.2.mlp": 1},
            "splits a layer; got .*layers.2 on 0 and 1; expected a device for each",
        ),
        ({"": 1, "model.image_newline": "cpu"}, "cannot be brought from elsewhere; got 'model.image_newline'; .*on 1"),
        (
            {"": "disk", f"{DECODER}.layers.1": "cpu"},
            "cannot be brought from elsewhere; got 'model.image_newline'; .*on cpu",
        ),
        ({"": "disk"}, "cannot be brought from elsewhere; got 'model.image_newline'; expected on cpu"),
    ],
)
def test_what_does_not_fit_the_model_is_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said) as refused:
        fitted(given, tiny_model("llava_next"), FILE)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda given: given,
        lambda given: given | {f"{DECODER}.layers.2.mlp": "cpu"},  # computed on GPU 0, as the rest of the layer
        lambda given: given | {"model.image_newline": 0, f"{DECODER}.layers.2.mlp": "disk"},
    ],
)
def test_weights_that_wait_elsewhere_do_not_split_a_layer(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    given = change({"": 0, f"{DECODER}.layers.3": 1, f"{DECODER}.layers.4": 1, "lm_head": 1})
    assert fitted(given, tiny_model("llava_next"), FILE)["lm_head"] == 1
