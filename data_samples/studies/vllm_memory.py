"""The second table of docs/vllm.md: how many requests run at once in the same memory, with and without a plan.

make bench-vllm-memory     # about 2 minutes

The engine is vLLM's CPU build with a small model with random weights, since only the lengths of prompts and the number
of layers count.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from data_samples.studies.tables import write_table
from data_samples.studies.vllm_prefill import ENVIRONMENT, LAYERS, PAGE, PLANS, SIDE, picture_prompt, save_checkpoint
from halfv_core import Plan, Profile
from halfv_core.cost import DecoderShape, cost_of, tokens_by_layer
from halfv_core.profile import config_fingerprint

COMMAND = "make bench-vllm-memory"
SHIPPED = Path(__file__).parents[1] / "profiles" / "tiny-qwen2.5-vl.json"

WIDTH, HEADS, KV_HEADS = 128, 2, 1
MEMORY = 64 * 2**20
"""Bytes of the KV cache."""
REQUESTS = 60
"""That wait for it; more than fit under any plan."""
STUDIED = {name: PLANS[name] for name in ("token sparsity", "layer inactivity")}


def main() -> None:
    os.environ |= ENVIRONMENT
    with TemporaryDirectory() as folder:
        save_checkpoint(Path(folder), WIDTH, 2 * WIDTH, HEADS, KV_HEADS)
        profiles = [None, *(save_profile(plan, folder, name) for name, plan in STUDIED.items())]
        # vLLM takes a process for itself.
        with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
            found = list(pool.map(most_at_once, [folder] * len(profiles), profiles))
    write_table(COMMAND, table_of(found), PAGE)


def save_profile(plan: Plan, folder: str, name: str) -> str:
    """Write a profile with this plan for the checkpoint in a folder; its path."""
    from transformers import AutoConfig

    shipped = Profile.load(SHIPPED)
    fingerprint = config_fingerprint(AutoConfig.from_pretrained(folder))
    provenance = shipped.provenance.model_copy(update={"config_fingerprint": fingerprint})
    path = Path(folder) / f"{name.replace(' ', '-')}.profile.json"
    shipped.model_copy(update={"plan": plan, "provenance": provenance, "pruning_tests": ()}).save(path)
    return str(path)


def most_at_once(folder: str, profile: str | None) -> tuple[int, int]:
    """How many of many equal requests an engine runs at once, and the text tokens of each.

    All prompts that fit go through in the first step, and none of them needs another block for its answer.
    """
    from vllm import LLM, SamplingParams

    llm = LLM(
        folder,
        dtype="float32",
        enforce_eager=True,
        block_size=32,
        max_model_len=1024,
        max_num_seqs=REQUESTS,
        max_num_batched_tokens=REQUESTS * 1024,
        kv_cache_memory_bytes=MEMORY,
        enable_prefix_caching=False,
        additional_config={} if profile is None else {"halfv_profile": profile},
    )
    core: Any = llm.llm_engine.engine_core
    scheduler, most, text = core.engine_core.scheduler, 0, 0
    llm.enqueue([picture_prompt()] * REQUESTS, SamplingParams(temperature=0, max_tokens=4, ignore_eos=True))
    while llm.llm_engine.has_unfinished_requests():
        llm.llm_engine.step()
        most = max(most, len(scheduler.running))
        for request in scheduler.running:
            assert not request.num_preemptions
            text = request.num_prompt_tokens - SIDE * SIDE
    assert most < REQUESTS
    return most, text


def table_of(found: list[tuple[int, int]]) -> str:
    """Markdown: a column for each plan."""

    def row(title: str, *cells: object) -> str:
        return f"| {' | '.join([title, *map(str, cells)])} |"

    (plain, text), *planned = found
    shape = DecoderShape(LAYERS, WIDTH, WIDTH, WIDTH * KV_HEADS // HEADS, 2 * WIDTH, value_bytes=4)
    costs = [cost_of(shape, tokens_by_layer(plan, LAYERS, SIDE * SIDE, text)) for plan in STUDIED.values()]
    lines = [
        row(f"{SIDE * SIDE} visual + {text} text tokens, {MEMORY // 2**20} MiB", *STUDIED),
        row("---", *["---"] * len(planned)),
        row("requests at once, with and without the plan", *(f"{most} and {plain}" for most, _ in planned)),
        row("ratio", *(f"{most / plain:.2f}x" for most, _ in planned)),
        row("entries of the KV cache, computed", *(f"{cost.kv_ratio:.2f}x fewer" for cost in costs)),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
