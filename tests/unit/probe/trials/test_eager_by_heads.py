"""The kernel gives what `eager` gives, whatever number of heads it takes at a time."""

import pytest
import torch

from halfv_core.families import parts_of
from halfv_core.runtime.patching import attention_kernel
from probe.trials import eager_by_heads as module
from probe.trials.eager_by_heads import eager_by_heads
from tests.tiny import TINY, tiny_model, tiny_prompt


@pytest.mark.parametrize("family", sorted(TINY))
@torch.no_grad()
def test_logits_are_those_of_eager(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = tiny_model(family), tiny_prompt(family)
    attention = parts_of(model).layers[0].self_attn
    sdpa = model(**inputs).logits
    with attention_kernel(attention, "eager"):
        expected = model(**inputs).logits
    for heads in (1, 2):
        monkeypatch.setattr(module, "SCORE_BYTES", 4 * heads * 2 * inputs["input_ids"].shape[1] ** 2)
        with eager_by_heads(attention):
            found = model(**inputs)
        assert torch.equal(found.logits, expected)
    assert torch.equal(model(**inputs).logits, sdpa)


def test_only_some_heads_are_attended_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 4 query heads that share 2 key heads, 2 at a time."""
    model, inputs = tiny_model("qwen2_5_vl"), tiny_prompt("qwen2_5_vl")
    attention, seen = parts_of(model).layers[0].self_attn, []
    eager = module._eager(attention)

    def counted(*args: torch.Tensor, **options: object) -> object:
        seen.append(args[1].shape[1])
        return eager(*args, **options)

    monkeypatch.setattr(module, "SCORE_BYTES", 1)
    monkeypatch.setattr(module, "_eager", lambda attention: counted)
    with torch.no_grad(), eager_by_heads(attention):
        model(**inputs)
    assert set(seen) == {2}
