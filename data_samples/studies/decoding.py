"""A table of docs/benchmarks.md: time to first token and per later token, with and without a plan, by kind of cache.

make bench-decoding     # about 4 minutes on one core

Everything goes through `generate`, as in a service. Two copies of a model, one of them under the plan, take turns with
each kind of cache within each round; ratios are of one round. Times are CPU time of one thread, except for the first
request, which compiles.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

import torch
from transformers import CompileConfig, PreTrainedModel
from transformers.generation.streamers import BaseStreamer

from cli.bench_table import depth_text, milliseconds, ratio
from data_samples.studies.tables import markdown, write_table
from halfv_core import Plan, Profile, apply
from halfv_core.models import bundled_models, load_model
from halfv_core.processors import Inputs
from probe.bench import config_of, published_plan, random_model, sliced, synthetic_inputs
from probe.bench.records import Spread
from probe.bench.synthetic import depths

COMMAND = "make bench-decoding"
NEW_TOKENS = 9


class Subject(NamedTuple):
    """What is measured."""

    name: str
    model: PreTrainedModel
    whole: int
    """Layers of the decoder in the complete model."""
    plan: Plan
    visual_tokens: int
    rounds: int


class Times(NamedTuple):
    """One request, seconds."""

    first: float
    """From the call of `generate` to the first token."""
    later: float
    """Of a token after it: the median."""
    elapsed: float
    """All of it by the wall clock: compilers run in processes of their own."""


class Pair(NamedTuple):
    """One request without and with the plan, in the same round."""

    full: Times
    planned: Times


def caches() -> dict[str, dict[str, Any]]:
    """Options of `generate`, by kind of cache."""
    compiling = CompileConfig()
    compiling._compile_all_devices = True  # type: ignore[assignment] # on a CPU, too
    static = {"cache_implementation": "static"}
    return {"dynamic": {}, "static": static, "static, compiled": static | {"compile_config": compiling}}


class _Ticks(BaseStreamer):  # type: ignore[misc] # transformers has no types for it
    """Notes when tokens come, the prompt's first."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        self.times.append(process_time())

    def end(self) -> None:
        pass


@torch.inference_mode()
def request(model: PreTrainedModel, inputs: Inputs, options: Mapping[str, Any]) -> Times:
    """Answer a prompt with `NEW_TOKENS` tokens."""
    ticks, generate = _Ticks(), model.generate
    length = {"min_new_tokens": NEW_TOKENS, "max_new_tokens": NEW_TOKENS}
    began, began_by_the_wall = process_time(), perf_counter()
    generate(**inputs, **length, **options, do_sample=False, streamer=ticks)
    tokens = ticks.times[1:]
    steps = [later - earlier for earlier, later in zip(tokens, tokens[1:], strict=False)]
    return Times(tokens[0] - began, median(steps), perf_counter() - began_by_the_wall)


def measure(
    model: PreTrainedModel, plan: Plan, inputs: Inputs, rounds: int, kinds: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[Pair]]:
    """By kind of cache, a pair for each round; the first one also compiles, and is in no ratio."""
    planned, pairs = copy.deepcopy(model), {kind: list[Pair]() for kind in kinds}
    with apply(planned, plan):
        for number in range(rounds + 1):
            for kind, options in kinds.items():
                sides = {"full": model, "planned": planned}
                order = reversed(sides) if number % 2 else sides
                times = {side: request(sides[side], inputs, options) for side in order}
                pairs[kind].append(Pair(**times))
    return pairs


def subjects() -> list[Subject]:
    """A bundled model with its profile, and a slice of a 7B shape with the release's plan."""
    name = "tiny-qwen2.5-vl"
    bundled = load_model(name, device="cpu").model
    profile = Profile.load(bundled_models()[name].parents[1] / "profiles" / f"{name}.json")
    config = config_of("llava-1.5-7b")
    whole = depths(config)[0]
    plan = published_plan(config.model_type, whole, 4)
    slice_of_it = random_model(sliced(config, 4, 4), dtype=torch.bfloat16, device=torch.device("cpu"))
    return [
        Subject(name, bundled, depths(bundled.config)[0], profile.plan, 196, 20),
        Subject("llava-1.5-7b", slice_of_it, whole, plan, 576, 5),
    ]


def main() -> None:
    torch.set_num_threads(1)
    found = []
    for subject in subjects():
        inputs = synthetic_inputs(subject.model, visual_tokens=subject.visual_tokens)
        pairs = measure(subject.model, subject.plan, inputs, subject.rounds, caches())
        found += columns(subject, inputs["input_ids"].shape[1], pairs)
    write_table(COMMAND, table_of(found))


class Column(NamedTuple):
    """A model and a kind of cache in the table."""

    subject: Subject
    tokens: int
    """Of the prompt."""
    kind: str
    compiling: Pair
    """The first round."""
    pairs: Sequence[Pair]
    """The others."""
    dynamic: Sequence[Pair]
    """The same with a dynamic cache."""


def columns(subject: Subject, tokens: int, pairs: Mapping[str, Sequence[Pair]]) -> list[Column]:
    """A column for each kind of cache."""
    return [Column(subject, tokens, kind, found[0], found[1:], pairs["dynamic"][1:]) for kind, found in pairs.items()]


def table_of(found: Sequence[Column]) -> str:
    """Markdown: ratios above 1 are gains."""
    rows: dict[str, Callable[[Column], str]] = {
        "cache": lambda one: one.kind,
        "layers of the decoder": lambda one: depth_text(depths(one.subject.model.config)[0], one.subject.whole),
        "precision": lambda one: str(one.subject.model.dtype).removeprefix("torch."),
        "tokens of the prompt": lambda one: str(one.tokens),
        "plan": lambda one: "; ".join(one.subject.plan.describe()),
        "rounds": lambda one: str(len(one.pairs)),
        "first request under the plan, wall clock": lambda one: f"{one.compiling.planned.elapsed:.2f} s",
        "first token, full": lambda one: milliseconds(Spread.of([pair.full.first for pair in one.pairs])),
        "first token, plan": lambda one: milliseconds(Spread.of([pair.planned.first for pair in one.pairs])),
        "**first token ratio** (rounds)": lambda one: f"**{_gain(one.pairs, one.pairs, 'first')}**",
        "decode, a token, full": lambda one: milliseconds(Spread.of([pair.full.later for pair in one.pairs])),
        "decode, a token, plan": lambda one: milliseconds(Spread.of([pair.planned.later for pair in one.pairs])),
        "**decode ratio** (rounds)": lambda one: f"**{_gain(one.pairs, one.pairs, 'later')}**",
        "decode ratio to the full model with a dynamic cache": lambda one: _gain(one.dynamic, one.pairs, "later"),
    }
    head = ["", *(f"`{one.subject.name}`" for one in found)]
    return markdown(head, [[name, *map(cell, found)] for name, cell in rows.items()])


def _gain(full: Sequence[Pair], planned: Sequence[Pair], name: str) -> str:
    """Times without the plan over those with it, round by round."""
    pairs = zip(full, planned, strict=True)
    return ratio(Spread.of([getattr(before.full, name) / getattr(after.planned, name) for before, after in pairs]))


if __name__ == "__main__":
    main()
