"""The proofs hold for every family, and fail for a model or a runtime that is wrong."""

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from halfv_core import Freeze, Keep, Plan, apply
from halfv_core.families import FAMILIES
from halfv_core.records import Check
from halfv_core.runtime.layout import TokenLayout
from halfv_core.runtime.prefill_state import PrefillState
from probe.trials.masked_run import masked_logits
from probe.trials.proofs import drawn_image, prove
from tests import masked_reference
from tests.quantised import KINDS, replace_linears
from tests.tiny import IMAGE, tiny_model, tiny_prompt

NAMES = (
    "weights are numbers, not only zeros",
    "visual tokens hold image features",
    "logits are finite",
    "an answer",
    "a plan that does nothing changes nothing",
    "pruning equals masking",
    "freezing equals restoring",
    "caches hold what was kept",
    "decoding equals recomputing",
    "rows of a padded batch are as if alone",
)


class OnePrompt:
    """A processor that makes the same prompt of everything."""

    def __init__(self, inputs: dict[str, Any]) -> None:
        self.inputs = inputs

    def prompt(self, *_: Any) -> dict[str, Any]:
        return self.inputs

    def decode(self, ids: torch.Tensor) -> str:
        return str(ids.tolist())


def proved(model: PreTrainedModel, inputs: dict[str, Any] | None = None) -> dict[str, Check]:
    processor: Any = OnePrompt(inputs or tiny_prompt(model.config.model_type))
    return {check.name: check for check in prove(model, processor)}


def failed(model: PreTrainedModel, inputs: dict[str, Any] | None = None) -> list[str]:
    return [name for name, check in proved(model, inputs).items() if not check.passed]


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_is_proved(family: str, kernel: str) -> None:
    model = tiny_model(family, kernel=kernel)
    checks = proved(model)
    assert tuple(checks) == NAMES
    assert [check for check in checks.values() if not check.passed] == []
    visual = checks["visual tokens hold image features"].found
    assert visual.startswith("16 of") and visual.endswith("16 promised by the processor")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["gemma3", "llava", "qwen3_vl"])
def test_half_precision_is_proved(family: str, dtype: torch.dtype) -> None:
    inputs = tiny_prompt(family)
    inputs = {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}
    assert failed(tiny_model(family).to(dtype), inputs) == []


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_masked_run_equals_the_slow_reference(family: str) -> None:
    model, inputs = tiny_model(family), tiny_prompt(family, images=2)
    plan = Plan((Keep(layer=1, keep_ratio=0.5), Keep(layer=3, keep_ratio=0.25), Freeze(layers=(2, 4))))
    with torch.no_grad(), apply(model, plan) as run:
        model(**inputs)
    kept = {layer: rows[0] for layer, rows in run.kept.items()}
    expected = masked_reference.masked_logits(model, inputs, plan, kept)[-1]
    torch.testing.assert_close(masked_logits(model, inputs, plan, kept), expected, atol=1e-5, rtol=1e-5)


def test_logits_that_are_not_finite_end_the_proof() -> None:
    model = tiny_model("llava")
    model.get_output_embeddings().weight.data[7] = torch.nan
    checks = proved(model)
    assert tuple(checks) == NAMES[:3] and not checks["logits are finite"].passed
    assert checks["logits are finite"].found == "63 of 64, as float32"


@pytest.mark.parametrize("value", [0.0, torch.inf, torch.nan])
def test_weights_that_were_not_downloaded_are_seen(value: float) -> None:
    model = tiny_model("llava")
    model.model.language_model.layers[2].mlp.up_proj.weight.data[:] = value
    check = proved(model)["weights are numbers, not only zeros"]
    assert not check.passed
    assert check.found.endswith("matrices are not, first model.language_model.layers.2.mlp.up_proj.weight")


@pytest.mark.parametrize("kind", ["buffers", "float8", "integers", "tensor subclass"])
def test_so_are_quantised_weights(kind: str) -> None:
    model = tiny_model("llava")
    replace_linears(model, KINDS[kind])
    assert failed(model) == []
    matrices = proved(model)["weights are numbers, not only zeros"].found
    weight = "qweight" if kind == "buffers" else "weight"
    stored = getattr(model.model.language_model.layers[2].mlp.up_proj, weight)
    getattr(stored, "values" if kind == "tensor subclass" else "data").zero_()
    assert proved(model)["weights are numbers, not only zeros"].found == (
        f"1 of {matrices} are not, first model.language_model.layers.2.mlp.up_proj.{weight}"
    )


def test_visual_tokens_without_features_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as those of a second image, of which the model was given only the ids."""
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    masks = model.model.get_placeholder_mask
    inputs["input_ids"][0, 1] = IMAGE

    def only_the_image(ids: torch.Tensor, **arguments: Any) -> Any:
        hidden = ids.clone()
        hidden[0, 1] = 2
        return masks(hidden, **arguments)

    monkeypatch.setattr(model.model, "get_placeholder_mask", only_the_image)
    check = proved(model, inputs)["visual tokens hold image features"]
    assert not check.passed and check.found.startswith("16 of 26 tokens, 17 promised")


def test_a_runtime_that_prunes_wrongly_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one that takes a visual token for text."""
    find = TokenLayout.find

    def without_the_first(*arguments: Any) -> TokenLayout:
        layout = find(*arguments)
        layout.visual[0, int(layout.visual[0].nonzero()[0])] = False
        return layout

    monkeypatch.setattr(TokenLayout, "find", without_the_first)
    wrong = {"pruning equals masking", "freezing equals restoring", "decoding equals recomputing"}
    assert wrong <= set(failed(tiny_model("llava")))


def test_a_runtime_that_touches_what_no_plan_names_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    leave = PrefillState.leave_layer

    def louder(self: PrefillState, index: int, output: torch.Tensor, *cache: Any) -> torch.Tensor:
        return leave(self, index, output * (1 + 1e-3), *cache)

    monkeypatch.setattr(PrefillState, "leave_layer", louder)
    assert "a plan that does nothing changes nothing" in failed(tiny_model("qwen2_5_vl"))


def test_all_parts_of_the_drawing_differ() -> None:
    picture = drawn_image()
    assert picture.mode == "RGB" and len(picture.resize((8, 6)).getcolors()) > 30
