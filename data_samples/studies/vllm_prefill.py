"""The first table of docs/vllm.md: what plans save in vLLM's CPU build, on random weights, beside the arithmetic.

make bench-vllm     # about 3 minutes
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any, NamedTuple

from data_samples.studies.tables import write_table
from halfv_core import Freeze, Keep, Plan
from halfv_core.cost import DecoderShape, cost_of, tokens_by_layer

COMMAND = "make bench-vllm"
PAGE = Path(__file__).parents[2] / "docs" / "vllm.md"
PROCESSOR = Path(__file__).parents[1] / "models" / "tiny-qwen2.5-vl"

LAYERS, WIDTH, MLP, HEADS, KV_HEADS = 12, 768, 3072, 12, 4
SIDE = 28
"""The image has SIDE * SIDE visual tokens."""
ROUNDS = 7
PLANS = {
    "token sparsity": Plan((Keep(layer=1, keep_ratio=0.25), Keep(layer=8, keep_ratio=0.05, selector="attention"))),
    "layer inactivity": Plan((Keep(layer=1, keep_ratio=0.5), Freeze(layers=range(5, LAYERS)))),
    "freezing alone": Plan((Freeze(layers=range(3, LAYERS)),)),
}
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
}


class Measured(NamedTuple):
    """One plan."""

    ratios: list[float]
    """Of the plain decoder's seconds to the plan's, one for each round."""
    flops_ratio: float
    kv_ratio: float


class Clock:
    """Runs a decoder under one plan after another, and takes the CPU time of its forward passes."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._decoder = runner.get_model().language_model.model
        self.seconds = 0.0

    def run_under(self, plan: Plan | None) -> None:
        """From now on; None is the decoder as it is."""
        from halfv_core.serving.vllm.plugin import install

        self._decoder.__dict__.pop("forward", None)
        if plan is not None:
            install(self._runner, plan)
        forward: Callable[..., Any] = self._decoder.forward

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = process_time()
            output = forward(*args, **kwargs)
            self.seconds = process_time() - start
            return output

        self._decoder.forward = timed


def main() -> None:
    os.environ |= ENVIRONMENT
    with TemporaryDirectory() as folder:
        save_checkpoint(Path(folder))
        text, found = measure(folder)
    write_table(COMMAND, table_of(text, found), PAGE)


def save_checkpoint(
    folder: Path, width: int = WIDTH, mlp: int = MLP, heads: int = HEADS, kv_heads: int = KV_HEADS
) -> None:
    """A Qwen2.5-VL with random weights and heads of 64, and the processor of the bundled one at another size."""
    import torch
    from transformers import (
        AutoImageProcessor,
        AutoTokenizer,
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLVideoProcessor,
    )

    vision = {
        "depth": 1, "hidden_size": 128, "num_heads": 4, "intermediate_size": 128, "patch_size": 8,
        "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": width, "fullatt_block_indexes": [0],
    }  # fmt: skip
    decoder = {
        "vocab_size": 128, "hidden_size": width, "intermediate_size": mlp, "num_hidden_layers": LAYERS,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "mrope_section": [8, 12, 12], "rope_theta": 10000.0},
    }  # fmt: skip
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config=decoder, vision_config=vision, image_token_id=5, video_token_id=6, vision_start_token_id=3,
            vision_end_token_id=4, tie_word_embeddings=False,
        )
    )  # fmt: skip
    model.to(torch.float32).save_pretrained(folder)
    pixels = (16 * SIDE) ** 2
    images = AutoImageProcessor.from_pretrained(PROCESSOR, size={"shortest_edge": pixels, "longest_edge": pixels})
    words = AutoTokenizer.from_pretrained(PROCESSOR)
    videos = Qwen2VLVideoProcessor(patch_size=8, merge_size=2, temporal_patch_size=2)
    template = (PROCESSOR / "chat_template.jinja").read_text(encoding="utf-8")
    Qwen2_5_VLProcessor(images, words, videos, chat_template=template).save_pretrained(folder)


def picture_prompt() -> dict[str, Any]:
    """A question about an image, as vLLM takes it."""
    import numpy as np
    from PIL import Image

    side = 16 * SIDE
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8))
    return {
        "prompt": "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Is there a red circle?<|im_end|>\n",
        "multi_modal_data": {"image": image},
    }


def measure(folder: str) -> tuple[int, dict[str, Measured]]:
    """Numbers of text tokens, and what each plan takes; the plans take turns within each round."""
    from vllm import LLM, SamplingParams

    llm = LLM(
        folder,
        dtype="float32",
        enforce_eager=True,
        block_size=32,
        max_model_len=2048,
        kv_cache_memory_bytes=2**30,
        enable_prefix_caching=False,
    )
    engine: Any = llm.llm_engine.engine_core
    clock = Clock(engine.engine_core.model_executor.driver_worker.worker.model_runner)
    prompt = picture_prompt()
    seconds: dict[str | None, list[float]] = {None: [], **{name: [] for name in PLANS}}
    tokens = 0
    for number in range(ROUNDS + 1):
        for name, taken in seconds.items():
            clock.run_under(None if name is None else PLANS[name])
            output = llm.generate(prompt, SamplingParams(temperature=0, max_tokens=1), use_tqdm=False)
            tokens = len(output[0].prompt_token_ids)
            if number:  # the first round warms up
                taken.append(clock.seconds)
    return tokens - SIDE * SIDE, {name: measured(name, seconds, tokens - SIDE * SIDE) for name in PLANS}


def measured(name: str, seconds: dict[str | None, list[float]], text: int) -> Measured:
    shape = DecoderShape(LAYERS, WIDTH, WIDTH, WIDTH * KV_HEADS // HEADS, MLP, value_bytes=4)
    cost = cost_of(shape, tokens_by_layer(PLANS[name], LAYERS, SIDE * SIDE, text))
    pairs = zip(seconds[None], seconds[name], strict=True)
    return Measured([full / planned for full, planned in pairs], cost.flops_ratio, cost.kv_ratio)


def table_of(text: int, found: dict[str, Measured]) -> str:
    """Markdown: a column for each plan."""

    def row(title: str, cells: Sequence[str]) -> str:
        return f"| {' | '.join([title, *cells])} |"

    def ratio(values: Sequence[float]) -> str:
        return f"{median(values):.2f}x ({min(values):.2f}-{max(values):.2f})"

    each = list(found.values())
    lines = [
        row(f"{SIDE * SIDE} visual + {text} text tokens", list(found)),
        row("---", ["---"] * len(found)),
        row("plan", ["; ".join(PLANS[name].describe()) for name in found]),
        row("prefill ratio, CPU time (rounds)", [ratio(one.ratios) for one in each]),
        row("FLOPs ratio", [f"{one.flops_ratio:.2f}x" for one in each]),
        row("entries of the KV cache in use, computed", [f"{one.kv_ratio:.2f}x fewer" for one in each]),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
