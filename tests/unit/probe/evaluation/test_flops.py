"""FLOPs counted while a model runs, against the analytic cost of halfv_core.cost and by hand."""

import pytest
import torch

from halfv_core import Freeze, Keep, Plan, apply
from halfv_core.families import FAMILIES, parts_of
from probe.evaluation.flops import flop_counter, outside_flops
from tests.tiny import LAYERS, VOCAB, tiny_batch, tiny_model, tiny_prompt


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@torch.no_grad()
def test_what_the_plan_leaves_is_what_runs(family: str, kernel: str) -> None:
    """A forward pass costs the analytic decoder FLOPs plus those outside; selection, if any, is extra."""
    model, inputs = tiny_model(family, kernel=kernel), tiny_prompt(family)
    outside = outside_flops(model, inputs)
    plan = Plan((Keep(layer=1, keep_ratio=0.6, selector="uniform"), Freeze(layers=[2, 4])))
    for given in (Plan(()), plan):
        with apply(model, given) as run, flop_counter() as counting:
            model(**inputs, logits_to_keep=1)
        assert counting.get_total_flops() == outside + run.cost.prefill_flops


def test_outside_of_a_prompt_without_images_is_the_head_for_one_token() -> None:
    assert outside_flops(tiny_model("llava"), tiny_prompt("llava", images=0)) == 2 * 32 * VOCAB


def test_outside_grows_with_the_images_and_leaves_the_model_as_it_was() -> None:
    model = tiny_model("qwen2_5_vl")
    forwards = [layer.forward for layer in parts_of(model).layers]
    one, two = (outside_flops(model, tiny_prompt("qwen2_5_vl", images=images)) for images in (1, 2))
    batch = outside_flops(model, tiny_batch("qwen2_5_vl", [{}, {}]))
    assert one < two < batch
    assert [layer.forward for layer in parts_of(model).layers] == forwards
    assert len(forwards) == LAYERS


@pytest.mark.parametrize(
    "kernel", ["flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention"]
)
def test_attention_of_grouped_heads(kernel: str) -> None:
    """As an accelerator gets it: 28 query heads share 4 key heads, and a batch of 2 has 7 queries and 9 keys."""
    count = flop_counter().flop_registry[getattr(torch.ops.aten, f"_scaled_dot_product_{kernel}")]
    query, key = torch.empty(2, 28, 7, 16), torch.empty(2, 4, 9, 16)
    assert count(query, key, key, out_val=query) == 2 * 28 * 7 * 9 * (2 * 16 + 2 * 16)
