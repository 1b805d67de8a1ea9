"""Inputs other than the plain image prompt: a video, and a prompt without its padding mask."""

import pytest
import torch

from halfv_core import Plan, apply
from halfv_core.families import FAMILIES
from tests.contract.test_families import GREEDY, PLAN
from tests.masked_reference import generate_by_recomputation, masked_logits
from tests.tiny import END, START, VIDEO, tiny_model, tiny_prompt


@PLAN
@torch.no_grad()
def test_a_video_equals_the_masked_reference(plan: Plan) -> None:
    """Two frame pairs of 16 visual tokens each, with positions in time."""
    model = tiny_model("qwen2_5_vl")
    ids = torch.tensor([[3, 4, 5, START, *[VIDEO] * 32, END, 7, 8, 9]])
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == VIDEO).int() * 2,
        "pixel_values_videos": torch.randn(128, 384, generator=torch.Generator().manual_seed(0)),
        "video_grid_thw": torch.tensor([[2, 8, 8]]),
        "second_per_grid_ts": torch.tensor([1.0]),
    }
    with apply(model, plan) as run:
        logits = model(**inputs).logits[0]
        kept = {layer: rows[0] for layer, rows in run.kept.items()}
        generated = model.generate(**inputs, **GREEDY)[0, ids.shape[1] :].tolist()
    text = ids[0] != VIDEO
    torch.testing.assert_close(logits[text], masked_logits(model, inputs, plan, kept)[text], atol=1e-5, rtol=1e-5)
    assert generated == generate_by_recomputation(model, inputs, plan, kept, GREEDY["max_new_tokens"])


@pytest.mark.parametrize("family", sorted(FAMILIES))
@PLAN
@torch.no_grad()
def test_a_prompt_without_its_mask_is_one_without_padding(family: str, plan: Plan) -> None:
    model, inputs = tiny_model(family), tiny_prompt(family, images=2)
    bare = {name: value for name, value in inputs.items() if name != "attention_mask"}
    with apply(model, plan):
        torch.testing.assert_close(model(**bare).logits, model(**inputs).logits, atol=1e-6, rtol=1e-5)
