"""Kept tokens and answers in vLLM are those of `apply()`."""

from pathlib import Path

import pytest

from halfv_core import Freeze, Keep, Plan
from tests.vllm.running import MODELS, Ask, asked, check, profile_of, with_apply, with_vllm

PROFILES = MODELS.parent / "profiles"
FRAMES = tuple(str(MODELS.parent / "photos" / "frames" / "planets" / f"{number}.jpg") for number in range(4))
HALFV = Plan(
    (
        Keep(layer=2, keep_ratio=0.5, options={"anchor_share": 0.2}),
        Keep(layer=4, keep_ratio=0.25, selector="attention"),
        Freeze(layers=[5, 6, 8]),
    )
)
EARLY = Plan((Keep(layer=1, keep_ratio=0.5, selector="attention"), Freeze(layers=[2]), Keep(layer=3, keep_ratio=0.2)))


@pytest.mark.parametrize("model", ["tiny-llava", "tiny-llava-next", "tiny-qwen2.5-vl"])
def test_the_shipped_profiles(model: str) -> None:
    asks, profile = asked(8), PROFILES / f"{model}.json"
    check(with_vllm(model, profile, [asks]), [with_apply(model, profile, asks)])


@pytest.mark.parametrize("model", ["tiny-llava", "tiny-qwen2.5-vl"])
def test_parts_of_prompts(model: str, tmp_path: Path) -> None:
    asks, profile = asked(6), profile_of(model, HALFV, tmp_path)
    if model == "tiny-qwen2.5-vl":  # a prompt whose very first token is visual, and dropped
        asks.append(Ask("", (5,), bare="<|image_pad|> Is there a red circle?"))
    found = with_vllm(model, profile, [asks], enable_chunked_prefill=True, max_num_batched_tokens=96)
    assert found["steps"] > 1000 / 96  # five images of 196 tokens or more
    check(found, [with_apply(model, profile, asks)])


@pytest.mark.parametrize("model", ["qwen2_vl", "qwen3_vl"])
def test_models_with_random_weights(model: str, tmp_path: Path) -> None:
    asks, profile = asked(6), profile_of(model, EARLY, tmp_path)
    check(with_vllm(model, profile, [asks], max_num_batched_tokens=512), [with_apply(model, profile, asks)])


def test_requests_that_are_preempted_select_by_their_prompts(tmp_path: Path) -> None:
    model, asks = "tiny-qwen2.5-vl", asked(6)
    profile = profile_of(model, HALFV, tmp_path)
    room = {"max_model_len": 512, "num_gpu_blocks_override": 150}  # blocks of two layers
    found = with_vllm(model, profile, [asks], tokens=48, **room)
    assert found["preemptions"]
    check(found, [with_apply(model, profile, asks, tokens=48)])


def test_two_tensor_parallel_processes(tmp_path: Path) -> None:
    model, asks = "tiny-qwen2.5-vl", asked(6)
    profile = profile_of(model, HALFV, tmp_path)
    found = with_vllm(model, profile, [asks], tensor_parallel_size=2, distributed_executor_backend="mp")
    assert len(found["kept"]) == 2
    check(found, [with_apply(model, profile, asks)])


def test_a_keep_before_the_first_layer(tmp_path: Path) -> None:
    model, asks = "tiny-qwen2.5-vl", asked(4)
    profile = profile_of(model, Plan((Keep(layer=0, keep_ratio=0.5, selector="uniform"),)), tmp_path)
    found = with_vllm(model, profile, [asks], enable_prefix_caching=True)
    check(found, [with_apply(model, profile, asks)])


def test_a_video_beside_an_image_and_text(tmp_path: Path) -> None:
    model, profile = "qwen2_vl", profile_of("qwen2_vl", EARLY, tmp_path)
    asks = [Ask("Is there a circle?", frames=FRAMES), *asked(4)]
    check(with_vllm(model, profile, [asks]), [with_apply(model, profile, asks)])


def test_prompts_with_images_do_not_read_the_prefix_cache_under_a_keep(tmp_path: Path) -> None:
    model, text = "tiny-llava", Ask("Is there a red circle? " * 12)
    profile = profile_of(model, HALFV, tmp_path)
    rounds = [[Ask("Is there a red circle?", (0,)), text], [Ask("How many squares are there?", (0,)), text]]
    found = with_vllm(model, profile, rounds, enable_prefix_caching=True)
    check(found, [with_apply(model, profile, asks) for asks in rounds])
    assert found["refusal"].startswith("prompt_logprobs are not known under a plan that drops visual tokens")
    assert [output["cached"] > 0 for output in found["rounds"][1]] == [False, True]


def test_text_does_not_read_blocks_of_a_prompt_whose_parts_wait(tmp_path: Path) -> None:
    model, text = "tiny-qwen2.5-vl", "Is there a red circle? " * 12
    profile = profile_of(model, HALFV, tmp_path)
    image = "<|vision_start|><|image_pad|><|vision_end|>"
    asks = [Ask("", (0,), bare=f"{text}{image}How many squares?"), Ask("", bare=f"{text}How many squares?")]
    parts = {"max_num_batched_tokens": 128, "long_prefill_token_threshold": 64}
    found = with_vllm(model, profile, [asks], enable_prefix_caching=True, **parts)
    check(found, [with_apply(model, profile, asks)])


def test_frozen_tokens_are_shared_by_the_prefix_cache() -> None:
    model, profile = "tiny-llava", PROFILES / "tiny-llava.json"
    rounds = [[Ask("Is there a red circle?", (0,))], [Ask("How many squares are there?", (0,))]]
    found = with_vllm(model, profile, rounds, enable_prefix_caching=True)
    check(found, [with_apply(model, profile, asks) for asks in rounds])
    assert found["rounds"][1][0]["cached"] >= 192
    assert found["refusal"] == ""


def test_without_a_profile_vllm_is_as_it_was() -> None:
    model, asks = "tiny-llava", asked(4)
    found = with_vllm(model, None, [asks])
    assert found["kept"] == [None]
    check(found, [with_apply(model, None, asks)])
