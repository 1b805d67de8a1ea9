"""With a plan, more requests run at once in the same memory, and get the same answers as under `apply()`."""

from pathlib import Path

from halfv_core import Freeze, Keep, Plan
from tests.vllm.running import Ask, asked, check, profile_of, with_apply, with_vllm

PLAN = Plan((Keep(layer=2, keep_ratio=0.5), Keep(layer=4, keep_ratio=0.25, selector="attention"), Freeze(layers=[6])))
MODEL = "tiny-qwen2.5-vl"
PAGE = 2 * 2 * 32 * 4 * 32
"""Bytes of a block of one of its 12 layers: keys and values of 2 heads of 32 float32, for 32 tokens."""
REQUESTS, TOKENS = 5, 48


def test_more_requests_run_at_once(tmp_path: Path) -> None:
    # A request has 7 blocks in each layer at its start and 8 or 9 at its end; under the plan, that many in layers 0 and
    # 1 alone, and 4 or 5 in most. Without it, four begin, and one of these has to wait for the others' end.
    room = {"max_model_len": 320, "kv_cache_memory_bytes": 29 * 12 * PAGE}
    asks = [Ask(ask.question, (number,)) for number, ask in enumerate(asked(REQUESTS))]
    profile = profile_of(MODEL, PLAN, tmp_path)
    planned = with_vllm(MODEL, profile, [asks], TOKENS, **room)
    check(planned, [with_apply(MODEL, profile, asks, TOKENS)])
    plain = with_vllm(MODEL, None, [asks], TOKENS, **room)
    assert planned["preemptions"] == 0
    assert planned["steps"] < TOKENS + 4
    assert plain["steps"] > 1.5 * TOKENS
