"""Videos, as the families' own processors prepare them, under a plan: the same as the masked reference.

The processors' video parts need torchvision; run make test-torchvision.
"""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch

from halfv_core import Plan, apply
from halfv_core.families import parts_of
from halfv_core.processors import PromptProcessor, load_processor
from tests.checkpoints import VIDEO_FAMILIES, save_processor
from tests.contract.test_families import PLANS, check_against_reference
from tests.pictures import noise
from tests.tiny import LAYERS, tiny_model

pytest.importorskip("torchvision")

FRAMES = 6
PARTS = {
    "a video": ("video", "w8 w9"),
    "a video before text and an image": ("video", "w8", "image", "w9"),
    "text between two videos": ("w8 w9", "video", "w10", "video", "w11"),
}
VIDEO = pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS.keys())
FAMILY = pytest.mark.parametrize("family", VIDEO_FAMILIES)


@cache
def processor_of(family: str) -> PromptProcessor:
    with TemporaryDirectory() as folder:
        return load_processor(str(save_processor(family, Path(folder))), offline=True)


def shown(part: str, number: int) -> dict[str, Any]:
    """A part of a user's turn, as chat templates take it."""
    if part == "video":
        frames = [np.asarray(noise(96, 64, 60, seed=10 * number + frame)) for frame in range(FRAMES)]
        return {"type": "video", "video": np.stack(frames)}  # (frames, height, width, 3)
    if part == "image":
        return {"type": "image", "image": noise(64, 64, 60, seed=number)}
    return {"type": "text", "text": part}


def video_prompt(family: str, parts: tuple[str, ...]) -> dict[str, Any]:
    if family == "smolvlm" and "image" in parts:
        pytest.skip("its processor drops the frames where there is an image too")
    content = [shown(part, number) for number, part in enumerate(parts)]
    return dict(
        processor_of(family).backend.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        )
    )  # fmt: skip


@FAMILY
@VIDEO
@pytest.mark.parametrize("name", ["keep_twice", "keep_inside_freeze"])
def test_videos_equal_the_masked_reference(family: str, parts: tuple[str, ...], name: str) -> None:
    check_against_reference(family, "sdpa", PLANS[name], video_prompt(family, parts))


@FAMILY
@VIDEO
def test_a_plan_prunes_the_frames(family: str, parts: tuple[str, ...]) -> None:
    model, inputs = tiny_model(family), video_prompt(family, parts)
    visual = torch.isin(inputs["input_ids"][0], torch.tensor(parts_of(model).visual_ids))
    assert int(visual.sum()) > parts.count("video") * FRAMES // 2
    with torch.no_grad():
        full = model(**inputs).logits[0, -1]
        with apply(model, Plan(())):
            assert torch.equal(model(**inputs).logits[0, -1], full)
        with apply(model, PLANS["drop_all"]) as run:
            out = model.generate(**inputs, max_new_tokens=2, do_sample=False, return_dict_in_generate=True)
            blind = model(**inputs).logits[0, -1]
    assert not torch.allclose(blind, full, atol=1e-4)
    assert len(run.kept[1][0]) == 0
    text = len(visual) - int(visual.sum()) + 1  # and the first token of the answer
    assert [out.past_key_values.get_seq_length(layer) for layer in (0, LAYERS - 1)] == [len(visual) + 1, text]
