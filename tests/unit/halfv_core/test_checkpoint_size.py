"""A config.json that asks for a larger model than the weights beside it is refused before that model is made."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from halfv_core.checkpoint_size import check_size
from halfv_core.errors import ModelError
from halfv_core.models import load_model
from tests.checkpoints import save_checkpoint

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_checkpoint("llava", tmp_path / "model")


def edited(folder: Path, change: Change) -> str:
    file = folder / "config.json"
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config))
    return str(folder)


def set_text(**fields: Any) -> Change:
    return lambda config: config["text_config"].update(fields)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda config: config.pop("text_config"), "numbers; expected weights of that model"),  # Llama's 7B by default
        (set_text(vocab_size=10**9), "numbers; expected weights of that model"),
        (set_text(hidden_size=10**6, head_dim=8), "numbers; expected weights of that model"),
        (lambda config: config["vision_config"].update(image_size=10**6), "numbers; expected weights of that model"),
        (set_text(num_hidden_layers=10**9), "got text_config.num_hidden_layers 1000000000; expected at most 1,000;"),
        (set_text(num_hidden_layers=1e30), "got text_config.num_hidden_layers 1e+30; expected at most 1,000;"),
        (lambda config: config["vision_config"].update(num_hidden_layers=10**9), "got vision_config.num_hidden_layers"),
    ],
)
def test_too_large_a_model_is_one_line(change: Change, said: str, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = edited(model, change)

    def made(*_: object, **__: object) -> None:
        raise AssertionError("the model was made")

    monkeypatch.setattr("transformers.AutoModelForImageTextToText.from_pretrained", made)
    with pytest.raises(ModelError) as caught:
        load_model(name, device="cpu")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_quantised_weights_may_be_smaller(model: Path) -> None:
    """Here about 4 bytes a number; 3 times the layers of the decoder fit only if less than a byte is enough."""
    check_size("it", model)
    stored = (model / "model.safetensors").stat().st_size
    edited(model, set_text(intermediate_size=stored // 100))
    with pytest.raises(ModelError, match="the weights of it do not fit its config.json; got [0-9,]+ bytes for"):
        check_size("it", model)
    edited(model, lambda config: config.update(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": 1}))
    check_size("it", model)


def test_a_folder_without_weights_is_left_to_loading(model: Path) -> None:
    (model / "model.safetensors").unlink()
    edited(model, set_text(vocab_size=10**9))
    check_size("it", model)
