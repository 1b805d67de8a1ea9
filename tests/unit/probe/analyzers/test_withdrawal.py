"""The withdrawal curve against separate masked passes."""

import pytest
import torch

from halfv_core import Plan
from halfv_core.errors import DataError
from halfv_core.families import FAMILIES
from probe.analyzers.withdrawal import withdrawal
from tests.masked_reference import masked_logits
from tests.separate_run import evaluations
from tests.tiny import LAYERS, tiny_model, tiny_prompt
from tests.unit.probe.analyzers.test_layer_redundancy import kl

NOTHING = torch.zeros(0, dtype=torch.long)


@pytest.mark.parametrize("family", sorted(FAMILIES))
@torch.no_grad()
def test_curve_equals_separate_masked_passes(family: str) -> None:
    model, inputs = tiny_model(family), tiny_prompt(family, images=2)
    full = model(**inputs).logits[0, -1]
    curve = withdrawal(model, inputs)
    assert curve.shape == (LAYERS,)
    for layer in range(LAYERS):
        changed = masked_logits(model, inputs, Plan(()), {layer: NOTHING})[-1]
        assert float(curve[layer]) == pytest.approx(kl(full, changed), abs=1e-5)
    assert bool((curve > 1e-5).all())


@torch.no_grad()
def test_half_of_the_layers_run_and_only_on_text_behind_the_image() -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava", after=6)
    with evaluations(model) as counted:
        withdrawal(model, inputs)
    assert counted == [inputs["input_ids"].shape[1]] * LAYERS + [6 * variants for variants in range(1, LAYERS + 1)]


def test_a_prompt_without_visual_tokens_is_refused() -> None:
    with pytest.raises(DataError, match="a withdrawal takes one prompt with an image; got no visual token"):
        withdrawal(tiny_model("llava"), tiny_prompt("llava", images=0))
