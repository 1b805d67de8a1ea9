"""Running a model with and without a plan, in turn, with the meters on."""

from collections.abc import Callable
from statistics import median
from typing import NamedTuple, TypeVar
from unittest.mock import patch

import torch
from transformers import PreTrainedModel

from halfv_core.cost import Cost
from halfv_core.families import parts_of
from halfv_core.plan import Plan
from halfv_core.processors import Inputs
from halfv_core.runtime import apply
from halfv_core.runtime.patching import Wrap, wrapped
from halfv_core.runtime.prefill_state import PrefillState
from probe.bench.meters import CLOCKS, Clock, PeakMemory, Stopwatch, cache_bytes
from probe.evaluation.flops import flop_counter

T = TypeVar("T")


class Request(NamedTuple):
    """What one request took: a prompt, and tokens after it, one by one."""

    vision_seconds: float
    """Vision tower and projector."""
    prefill_seconds: float
    """The decoder's forward over the prompt, LM head not included."""
    first_token_seconds: float
    """From the call of the model to the id of the first token."""
    decode_seconds: float
    """Median of the later tokens, each from its call to the id of the next."""
    peak_bytes: int | None
    """Most memory in use at one time, above that of the resting model with its inputs."""
    kv_bytes: int
    """Keys and values in the cache at the end, summed over its tensors."""


@torch.no_grad()
def request(model: PreTrainedModel, inputs: Inputs, new_tokens: int, clock: Clock = CLOCKS["wall"]) -> Request:
    """One request under the model as it is now.

    Args:
        inputs: a prompt of any batch size, without padding.
        new_tokens: greedy tokens that are fed after the prompt, 1 or more.
    """
    parts = parts_of(model)
    vision, prefill, first = (Stopwatch(model.device, clock) for _ in range(3))
    memory = PeakMemory(model.device)
    timed = [Wrap(parts.core, "get_image_features", vision.around), Wrap(parts.decoder, "forward", prefill.around)]
    with wrapped(timed), first.running():
        out = model(**inputs, use_cache=True, logits_to_keep=1)
        token = out.logits[:, -1:].argmax(-1)  # (B, 1)
    steps = []
    for _ in range(new_tokens):
        step = Stopwatch(model.device, clock)
        with step.running():
            out = model(input_ids=token, past_key_values=out.past_key_values, use_cache=True, logits_to_keep=1)
            token = out.logits[:, -1:].argmax(-1)
        steps.append(step.seconds)
    return Request(
        vision_seconds=vision.seconds,
        prefill_seconds=prefill.seconds,
        first_token_seconds=first.seconds,
        decode_seconds=median(steps),
        peak_bytes=memory.above_rest(),
        kv_bytes=cache_bytes(out.past_key_values),
    )


def planned_request(
    model: PreTrainedModel, plan: Plan, inputs: Inputs, new_tokens: int, clock: Clock = CLOCKS["wall"]
) -> tuple[Request, Cost]:
    """One request under a plan, and what it should cost by arithmetic."""
    with apply(model, plan) as run:
        return request(model, inputs, new_tokens, clock), run.cost


class Selection(NamedTuple):
    """What choosing and dropping tokens takes of a prefill under a plan."""

    seconds: float
    share: float
    """Of the decoder's prefill in the same pass."""


@torch.no_grad()
def selection(model: PreTrainedModel, plan: Plan, inputs: Inputs, clock: Clock = CLOCKS["wall"]) -> Selection:
    """A prefill of its own: waiting for the device around each selection would disturb the time of the whole."""
    choosing, prefill = Stopwatch(model.device, clock), Stopwatch(model.device, clock)
    timed = [Wrap(parts_of(model).decoder, "forward", prefill.around)]
    with (
        apply(model, plan),
        patch.object(PrefillState, "_prune", choosing.around(PrefillState._prune)),
        wrapped(timed),
    ):
        model(**inputs, use_cache=True, logits_to_keep=1)
    return Selection(choosing.seconds, choosing.seconds / prefill.seconds)


@torch.no_grad()
def executed_flops(model: PreTrainedModel, plan: Plan, inputs: Inputs) -> int:
    """FLOPs of a whole prefill under a plan, counted while it runs; selection's own products are among them."""
    with apply(model, plan), flop_counter() as counting:
        model(**inputs, use_cache=True, logits_to_keep=1)
    return int(counting.get_total_flops())


def in_turn(rounds: int, first: Callable[[], T], second: Callable[[], T]) -> list[tuple[T, T]]:
    """Run both `rounds` times, next to each other, and in the other order every second round.

    What drifts (a clock that warms down, a neighbour that comes and goes) then falls on both alike. One more round
    comes before, and does not count.

    Returns:
        (of the first, of the second) for each round.
    """
    found = []
    for turn in range(rounds + 1):
        if turn % 2:
            one = first()
            pair = (one, second())
        else:
            other = second()
            pair = (first(), other)
        found.append(pair)
    return found[1:]
