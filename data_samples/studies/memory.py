"""What a calibration needs beside the weights: measured on slices of real shapes, next to the formula.

    python -m data_samples.studies.memory

The models have random weights: some layers of a real shape at its full width, and all layers of a narrower one. Counted
are the tensors that are alive at once (`TensorMemory`), step by step, so the figures depend on nothing else on the
machine. Prints a table, and writes docs/benchmarks/memory.json and the table of docs/scale.md.
"""

import gc
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedConfig

from cli.common import stdout
from data_samples.studies.tables import PAGE, RECORDS, markdown, write_table
from halfv_core.families import parts_of
from halfv_core.plan import Freeze, Keep, Plan
from halfv_core.profile import write_atomically
from probe.bench.inputs import synthetic_inputs
from probe.bench.meters import TensorMemory
from probe.bench.synthetic import config_of, random_model, sliced
from probe.calibration.steps.answer import Answer
from probe.calibration.steps.curves import Curves
from probe.calibration.steps.plans import Plans
from probe.calibration.steps.search_round import SearchRound
from probe.calibration.steps.self_checks import SelfChecks
from probe.calibration.steps.step import ProbedModel, Step
from probe.data.samples import Sample
from probe.estimate.gpus import weight_bytes
from probe.estimate.memory import peaks
from probe.estimate.sizes import KNOWN, sizes_of
from probe.trials.answers import Inputs

COMMAND = "python -m data_samples.studies.memory"
OUTPUT = RECORDS / "memory.json"
TABLE_PAGE = PAGE.with_name("scale.md")
WHOLE = {
    "qwen2.5-vl-3b": 2500, "qwen2.5-vl-7b": 2500, "qwen2.5-vl-32b": 2500, "qwen2.5-vl-72b": 2500,
    "llava-1.5-7b": 576, "llava-next-mistral-7b": 2500,
}  # fmt: skip
"""Models for which the formula is shown, with the visual tokens of a prompt."""
TEXT, ANSWER = 60, 4
"""Tokens of text and of the answer."""


class Slice(NamedTuple):
    """A model with random weights, and a prompt for it."""

    shape: str
    layers: int
    vision_layers: int
    visual: int
    """Visual tokens."""
    dtype: str = "bfloat16"
    width: float = 1.0
    """Share of the decoder's width, heads and MLP."""
    vocabulary: int | None = None
    vision_width: float = 1.0
    """Share of the tower's width, likewise."""

    def config(self) -> PreTrainedConfig:
        """Of the shape, cut and narrowed."""
        config = sliced(config_of(self.shape), self.layers, self.vision_layers)
        text = config.get_text_config()
        text.head_dim = text.hidden_size // text.num_attention_heads
        for name in ("intermediate_size", "num_attention_heads", "num_key_value_heads"):
            setattr(text, name, max(1, round(getattr(text, name) * self.width)))
        text.hidden_size = text.num_attention_heads * text.head_dim
        vision = config.vision_config
        heads = "num_heads" if hasattr(vision, "num_heads") else "num_attention_heads"
        head_dim = vision.hidden_size // getattr(vision, heads)
        for name in (heads, "intermediate_size"):
            setattr(vision, name, max(1, round(getattr(vision, name) * self.vision_width)))
        vision.hidden_size = getattr(vision, heads) * head_dim
        if hasattr(config.vision_config, "out_hidden_size"):
            config.vision_config.out_hidden_size = text.hidden_size
        if self.vocabulary is not None:
            text.vocab_size = self.vocabulary
            text.bos_token_id = text.eos_token_id = None
            names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
            for number, name in enumerate(names, start=1):
                if hasattr(config, name):
                    setattr(config, name, self.vocabulary - number)
        return config


SLICES = (
    Slice("qwen2.5-vl-7b", 2, 1, 300),
    Slice("qwen2.5-vl-7b", 4, 1, 2500),
    Slice("qwen2.5-vl-7b", 28, 1, 300, width=0.1, vocabulary=20_000, vision_width=0.25),
    Slice("llava-1.5-7b", 8, 2, 576, width=0.25, vision_width=0.25),
)


class Measured(NamedTuple):
    """Of one slice, with or without low memory."""

    measured: Mapping[str, int]
    """Bytes by step."""
    seconds: Mapping[str, float]
    """CPU time by step."""
    computed: Mapping[str, int]
    """Bytes by step of the formula."""

    @property
    def ratio(self) -> float:
        """The formula's largest step, divided by the largest that was measured."""
        return max(self.computed.values()) / max(self.measured.values())


class Subject(ProbedModel):
    """A model, and synthetic prompts in the place of samples."""

    def inputs(self, sample: Sample) -> Inputs:
        """A prompt of as many visual tokens as the sample's id says, with pixels as processors make them."""
        inputs = dict(synthetic_inputs(self.model, visual_tokens=int(sample.id), text_tokens=TEXT))
        return inputs | {name: value.float() for name, value in inputs.items() if value.is_floating_point()}


def steps(layers: int, sample: str) -> dict[str, Step[Any]]:
    """The steps that need most, by name."""
    plans = (
        Plan((Keep(layer=1, keep_ratio=0.25),)),
        Plan((Keep(layer=max(1, 3 * layers // 4), keep_ratio=0.25, selector="attention"),)),
        Plan((Freeze(layers=tuple(range(max(1, layers // 2), layers))),)),
    )
    answers = {sample: Answer(tuple(range(5, 5 + ANSWER)), -5.0)}
    found: dict[str, Step[Any]] = {
        "curves": Curves(50, ANSWER, kl_ids=frozenset()),
        "curves with KL": Curves(50, ANSWER),
        "self-checks": SelfChecks(50),
        "trials": SearchRound(answers, plans, "study"),
        "plans": Plans(answers, plans, "likelihood", ANSWER),
    }
    return found


def measure(one: Slice, *, low_memory: bool = False, skipped: Sequence[str] = ()) -> Measured:
    """Run the steps of a calibration on one prompt.

    Args:
        one: the model and the prompt.
        low_memory: as in `Settings`.
        skipped: steps that are not run.
    """
    model = random_model(one.config(), dtype=getattr(torch, one.dtype))
    subject: Any = Subject(model, Any, None, low_memory)  # type: ignore[arg-type] # no processor is needed
    sample = Sample(id=str(one.visual), images=(Path("image.png"),), question="What is there?")
    visual = int(torch.isin(subject.inputs(sample)["input_ids"], torch.tensor(parts_of(model).visual_ids)).sum())
    sizes = sizes_of(model.config, model.num_parameters(), one.dtype)
    measured, seconds = dict[str, int](), dict[str, float]()
    for name, step in steps(one.layers, sample.id).items():
        if name in skipped:
            continue
        gc.collect()
        began = time.process_time()
        with TensorMemory() as memory:
            step.measure(subject, sample)
        measured[name], seconds[name] = memory.peak, time.process_time() - began
    return Measured(measured, seconds, peaks(sizes, visual, TEXT + ANSWER, low_memory=low_memory)._asdict())


def main() -> None:
    """Measure the slices with and without low memory, and compute what whole models need."""
    torch.set_num_threads(1)
    results = []
    for one in SLICES:
        for low_memory in (False, True):
            results.append(_record(one, low_memory, measure(one, low_memory=low_memory)))
            stdout.print(f"{one.shape}, {one.layers} layers: done", highlight=False)
    record = {
        "torch": torch.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "results": results,
    }
    write_atomically(OUTPUT, json.dumps(record, indent=1) + "\n")
    write_table(COMMAND, table(results), TABLE_PAGE)
    stdout.print(table(results), soft_wrap=True, markup=False, highlight=False)


def _record(one: Slice, low_memory: bool, found: Measured) -> dict[str, Any]:
    return {
        "slice": one._asdict(),
        "low_memory": low_memory,
        "measured": dict(found.measured),
        "cpu_seconds": {name: round(seconds, 1) for name, seconds in found.seconds.items()},
        "computed": dict(found.computed),
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: what was measured on slices, if anything, beside the formula; and the formula for whole models."""
    return (_measured_table(results) + "\n" if results else "") + _whole_table()


def _measured_table(results: Sequence[dict[str, Any]]) -> str:
    head, lines = ["slice", "low memory", "measured", "formula", "formula / measured", "CPU time"], []
    for one in results:
        cut = Slice(**one["slice"])
        width = "" if cut.width == 1 else f" of {cut.width:g} of the width"
        measured, computed = max(one["measured"].values()), max(one["computed"].values())
        lines.append(
            [
                f"`{cut.shape}`, {cut.layers} layers{width}, {cut.visual} visual tokens",
                "yes" if one["low_memory"] else "no",
                f"{measured / 1e6:,.0f} MB",
                f"{computed / 1e6:,.0f} MB",
                f"{computed / measured:.2f}",
                f"{sum(one['cpu_seconds'].values()):.0f} s",
            ]
        )
    return markdown(head, lines)


def _whole_table() -> str:
    head, lines = ["model", "weights", "beside them", "with low memory", "largest step"], []
    for name, visual in WHOLE.items():
        sizes = KNOWN[name]
        plain, low = (peaks(sizes, visual, TEXT, low_memory=low, accelerator=True) for low in (False, True))
        lines.append(
            [
                f"`{name}`, {visual:,} visual tokens",
                f"{weight_bytes(sizes, 1) / 1e9:.1f} GB",
                f"{plain.most / 1e9:.1f} GB",
                f"{low.most / 1e9:.1f} GB",
                f"{plain.step}; {low.step}",
            ]
        )
    return markdown(head, lines)


if __name__ == "__main__":
    main()
