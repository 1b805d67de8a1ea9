"""What a run tells about its latest prompt: anchors and cost."""

import pytest
import torch

from halfv_core import Freeze, Keep, Plan, apply
from halfv_core.errors import UnsupportedError
from tests.tiny import LAYERS, tiny_batch, tiny_model, tiny_prompt

PLAN = Plan((Keep(layer=2, keep_ratio=0.5), Freeze(layers=[4])))


def test_anchors_are_told_row_by_row_as_each_row_would_have_them_alone() -> None:
    prompts = [{}, {"images": 2}]
    plan = Plan((Keep(layer=2, keep_ratio=0.5, options={"anchor_share": 0.5}), Keep(layer=3, keep_ratio=0.25)))
    batch = tiny_batch("llava", prompts)
    model = tiny_model("llava")
    with torch.no_grad(), apply(model, plan) as run:
        model(**batch)
        together = run.anchors
        for row, prompt in enumerate(prompts):
            alone = tiny_prompt("llava", seed=row, **prompt)
            gap = batch["input_ids"].shape[1] - alone["input_ids"].shape[1]
            model(**alone)
            for layer, share in ((2, 0.5), (3, 0.1)):
                kept, anchors = run.kept[layer][0].tolist(), run.anchors[layer][0].tolist()
                assert len(anchors) == int(len(kept) * share)
                assert set(anchors) <= set(kept)
                assert {position + gap for position in anchors} == set(together[layer][row].tolist())


def test_cost_counts_text_prompts_and_the_latest_prompt_alone() -> None:
    model, token = tiny_model("llava"), torch.tensor([[5]])
    text, image = tiny_prompt("llava", images=0), tiny_prompt("llava")
    with torch.no_grad(), apply(model, PLAN) as run:
        older = model(**image, use_cache=True).past_key_values
        latest = model(**text, use_cache=True).past_key_values
        for cache in (older, older, latest):
            model(input_ids=token, past_key_values=cache, use_cache=True)
        assert run.cost.kv_bytes == run.cost.kv_bytes_full == LAYERS * 2 * 11 * 32 * 4
        assert run.cost.flops_ratio == 1.0


def test_cost_before_anything_ran_is_refused() -> None:
    with apply(tiny_model("llava"), PLAN) as run, pytest.raises(UnsupportedError, match="call the model first"):
        _ = run.cost
