"""The KL curve against separate passes, and its two self-checks."""

from dataclasses import replace

import pytest
import torch

from halfv_core import Freeze, Plan, apply
from halfv_core.errors import DataError
from halfv_core.families import FAMILIES, parts_of
from probe.analyzers import layer_redundancy as module
from probe.analyzers import next_token
from probe.analyzers.layer_redundancy import layer_redundancy
from tests.masked_reference import masked_logits
from tests.tiny import LAYERS, VOCAB, padded, tiny_model, tiny_prompt

FAMILY = pytest.mark.parametrize("family", sorted(FAMILIES))
KERNEL = pytest.mark.parametrize("kernel", ["eager", "sdpa"])


def kl(p: torch.Tensor, q: torch.Tensor) -> float:
    """KL(p || q) from two rows of logits, term by term."""
    a, b = p.double().softmax(-1), q.double().softmax(-1)
    return sum(float(x) * float((x / y).log()) for x, y in zip(a, b, strict=True))


@FAMILY
@KERNEL
@torch.no_grad()
def test_curve_equals_separate_masked_passes(family: str, kernel: str) -> None:
    model, inputs = tiny_model(family, kernel=kernel), tiny_prompt(family, images=2)
    full = model(**inputs).logits[0, -1]
    curve = layer_redundancy(model, inputs)
    reverse = layer_redundancy(model, inputs, direction="reverse")
    for layer in range(1, LAYERS):
        changed = masked_logits(model, inputs, Plan((Freeze(layers=[layer]),)), {})[-1]
        assert float(curve[layer]) == pytest.approx(kl(full, changed), abs=1e-6)
        assert float(reverse[layer]) == pytest.approx(kl(changed, full), abs=1e-6)


@FAMILY
@KERNEL
@torch.no_grad()
def test_last_layer_is_exactly_zero_and_the_others_are_not(family: str, kernel: str) -> None:
    curve = layer_redundancy(tiny_model(family, kernel=kernel), tiny_prompt(family))
    assert float(curve[-1]) == 0.0
    assert bool((curve[:-1] > 0).all())


@FAMILY
@torch.no_grad()
def test_zeroing_an_output_projection_changes_the_curve(family: str) -> None:
    model, inputs = tiny_model(family), tiny_prompt(family)
    before = layer_redundancy(model, inputs)
    parts_of(model).layers[2].self_attn.o_proj.weight.zero_()
    assert not torch.allclose(layer_redundancy(model, inputs)[:-1], before[:-1], rtol=1e-2)


@FAMILY
@torch.no_grad()
def test_batching_padding_and_the_plan_runtime_do_not_matter(family: str) -> None:
    model, inputs = tiny_model(family), tiny_prompt(family)
    curve = layer_redundancy(model, inputs)
    torch.testing.assert_close(layer_redundancy(model, inputs, tokens=1), curve, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(layer_redundancy(model, padded(inputs, 3)), curve, atol=1e-6, rtol=1e-4)
    with apply(model, Plan((Freeze(layers=[2]),))):
        frozen = model(**inputs).logits[0, -1]
    assert float(curve[2]) == pytest.approx(kl(model(**inputs).logits[0, -1], frozen), abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@FAMILY
@torch.no_grad()
def test_16_bits_are_widened_before_logits_are_compared(
    family: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits around 40 are 0.25 apart in bfloat16; a head in two pieces gives what a whole one in float32 does."""
    monkeypatch.setattr(next_token, "_HEAD_ROWS", VOCAB // 2 + 1)
    model, inputs = tiny_model(family).to(dtype), tiny_prompt(family)
    inputs["pixel_values"] = inputs["pixel_values"].to(dtype)
    head = parts_of(model).head
    head.bias = torch.nn.Parameter(torch.full((VOCAB,), 40.0, dtype=dtype))
    curve = layer_redundancy(model, inputs)
    assert curve[-1] == 0.0

    def in_float32(hidden: torch.Tensor) -> torch.Tensor:
        normed = parts_of(model).norm(hidden.float())
        return torch.nn.functional.linear(normed, head.weight.float(), head.bias.float())

    parts = replace(parts_of(model), norm=torch.nn.Identity(), head=in_float32)
    monkeypatch.setattr(module, "parts_of", lambda model, family: parts)
    torch.testing.assert_close(curve, layer_redundancy(model, inputs), rtol=1e-3, atol=1e-6)


@torch.no_grad()
def test_logits_that_are_not_finite_are_refused() -> None:
    model = tiny_model("llava")
    parts_of(model).head.weight.data[3] = torch.nan
    with pytest.raises(DataError, match="logits are not finite; load the model in bfloat16 or float32"):
        layer_redundancy(model, tiny_prompt("llava"))


def test_text_only_is_refused() -> None:
    with pytest.raises(DataError, match="one prompt with an image; got no visual token"):
        layer_redundancy(tiny_model("llava"), tiny_prompt("llava", images=0))
