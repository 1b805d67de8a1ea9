"""Kept tokens and answers in vLLM are those of `apply()`."""

from pathlib import Path

import pytest

from halfv_core import Freeze, Keep, Plan
from tests.vllm.running import MODELS, asked, check, profile_of, with_apply, with_vllm

PROFILES = MODELS.parent / "profiles"
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
    found = with_vllm(model, profile, [asks], enable_chunked_prefill=True, max_num_batched_tokens=96)
    check(found, [with_apply(model, profile, asks)])


@pytest.mark.parametrize("model", ["qwen2_vl", "qwen3_vl"])
def test_models_with_random_weights(model: str, tmp_path: Path) -> None:
    asks, profile = asked(6), profile_of(model, EARLY, tmp_path)
    check(with_vllm(model, profile, [asks], max_num_batched_tokens=512), [with_apply(model, profile, asks)])


def test_requests_that_are_preempted_select_by_their_prompts(tmp_path: Path) -> None:
    model, asks = "tiny-qwen2.5-vl", asked(6)
    profile = profile_of(model, HALFV, tmp_path)
    found = with_vllm(model, profile, [asks], tokens=48, num_gpu_blocks_override=40)
    assert found["preemptions"]
    check(found, [with_apply(model, profile, asks, tokens=48)])


def test_two_tensor_parallel_processes(tmp_path: Path) -> None:
    model, asks = "tiny-qwen2.5-vl", asked(6)
    profile = profile_of(model, HALFV, tmp_path)
    found = with_vllm(model, profile, [asks], tensor_parallel_size=2, distributed_executor_backend="mp")
    assert len(found["kept"]) == 2
    check(found, [with_apply(model, profile, asks)])
