"""Runs a model with and without a plan, in alternation, and measures each run."""

from collections.abc import Callable
from contextlib import nullcontext
from statistics import median
from typing import NamedTuple, TypeVar

import torch
from transformers import PreTrainedModel

from halfv_core.cost import Cost
from halfv_core.families import parts_of
from halfv_core.placement import device_of
from halfv_core.plan import Plan
from halfv_core.processors import Inputs
from halfv_core.runtime import apply
from halfv_core.runtime.patching import Wrap, wrapped
from probe.bench.meters import PeakMemory, cache_bytes
from probe.common.stopwatch import CLOCKS, Clock, Stopwatch
from probe.evaluation.flops import flop_counter
from probe.trials.choosing_time import timed_choosing

T = TypeVar("T")


class Request(NamedTuple):
    """Time and memory of one request: a prompt, followed by single tokens."""

    vision_seconds: float
    """Time in vision tower and projector."""
    prefill_seconds: float
    """Time of the decoder's forward pass over the prompt, without the LM head."""
    first_token_seconds: float
    """Time from the call of the model to the id of the first token."""
    decode_seconds: float
    """Median over the later tokens of the time from the call of the model to the id of the next token."""
    peak_bytes: int | None
    """Peak memory above that of the idle model and its inputs; None where it cannot be measured."""
    kv_bytes: int
    """Bytes of all keys and values in the KV cache at the end."""


@torch.no_grad()
def request(model: PreTrainedModel, inputs: Inputs, new_tokens: int, clock: Clock = CLOCKS["wall"]) -> Request:
    """Measure one request to the model in its present state.

    Args:
        inputs: a prompt of any batch size, without padding.
        new_tokens: number of greedy tokens that are fed after the prompt, 1 or more.
        clock: source of time, one of `CLOCKS`.
    """
    parts = parts_of(model)
    vision, prefill, first = (Stopwatch(device_of(model), clock) for _ in range(3))
    memory = PeakMemory(device_of(model))
    timed = [Wrap(parts.core, "get_image_features", vision.around), Wrap(parts.decoder, "forward", prefill.around)]
    with wrapped(timed), first.running():
        out = model(**inputs, use_cache=True, logits_to_keep=1)
        token = out.logits[:, -1:].argmax(-1)  # (B, 1)
    steps = []
    for _ in range(new_tokens):
        step = Stopwatch(device_of(model), clock)
        with step.running():
            out = model(input_ids=token, past_key_values=out.past_key_values, use_cache=True, logits_to_keep=1)
            token = out.logits[:, -1:].argmax(-1)
        steps.append(step.seconds)
    return Request(
        vision_seconds=vision.seconds,
        prefill_seconds=prefill.seconds,
        first_token_seconds=first.seconds,
        decode_seconds=median(steps),
        peak_bytes=memory.above_baseline(),
        kv_bytes=cache_bytes(out.past_key_values),
    )


def planned_request(
    model: PreTrainedModel, plan: Plan, inputs: Inputs, new_tokens: int, clock: Clock = CLOCKS["wall"]
) -> tuple[Request, Cost]:
    """Measure one request under a plan; also returns its analytic cost."""
    with apply(model, plan) as run:
        return request(model, inputs, new_tokens, clock), run.cost


@torch.no_grad()
def prefill_seconds(model: PreTrainedModel, plan: Plan, inputs: Inputs, clock: Clock = CLOCKS["wall"]) -> float:
    """Time of the decoder's forward pass over the prompt, without the LM head, under a plan or plain if it is empty."""
    prefill = Stopwatch(device_of(model), clock)
    with (
        apply(model, plan) if plan.interventions else nullcontext(),
        wrapped([Wrap(parts_of(model).decoder, "forward", prefill.around)]),
    ):
        model(**inputs, use_cache=True, logits_to_keep=1)
    return prefill.seconds


class Selection(NamedTuple):
    """The time that choosing and dropping tokens takes in a prefill under a plan."""

    seconds: float
    share: float
    """Share of the decoder's prefill time in the same run."""


@torch.no_grad()
def selection(model: PreTrainedModel, plan: Plan, inputs: Inputs, clock: Clock = CLOCKS["wall"]) -> Selection:
    """Measure selection in a prefill of its own, since synchronising around it would slow down a timed prefill."""
    choosing, prefill = Stopwatch(device_of(model), clock), Stopwatch(device_of(model), clock)
    timed = [Wrap(parts_of(model).decoder, "forward", prefill.around)]
    with (
        apply(model, plan),
        timed_choosing(choosing),
        wrapped(timed),
    ):
        model(**inputs, use_cache=True, logits_to_keep=1)
    return Selection(choosing.seconds, choosing.seconds / prefill.seconds)


@torch.no_grad()
def executed_flops(model: PreTrainedModel, plan: Plan, inputs: Inputs) -> int:
    """FLOPs of a whole prefill under a plan, counted while it runs, including those of the selection itself."""
    with apply(model, plan), flop_counter() as counting:
        model(**inputs, use_cache=True, logits_to_keep=1)
    return int(counting.get_total_flops())


def interleaved(rounds: int, first: Callable[[], T], second: Callable[[], T]) -> list[tuple[T, T]]:
    """Run both functions in each of `rounds` rounds, swapping their order from round to round.

    Drift, such as thermal throttling or load from other processes, then affects both alike. A warm-up round comes first
    and is discarded.

    Returns:
        (result of `first`, result of `second`) for each round.
    """
    pairs = []
    for index in range(rounds + 1):
        if index % 2:
            one = first()
            pair = (one, second())
        else:
            other = second()
            pair = (first(), other)
        pairs.append(pair)
    return pairs[1:]
