"""The requests of one step of vLLM: which of their tokens go through a layer, and where the KV cache has them.

vLLM numbers a request's tokens from 0, and puts token i into entry i of its cache. A Keep leaves gaps in that
numbering, and vLLM's attention knows none. So the caches of pruned layers are compact: their entries hold the remaining
tokens in the same order, entry after entry, in the first of the request's blocks.
"""

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import Any, NamedTuple

import torch

from halfv_core.interventions import Keep


@dataclass(frozen=True)
class Request:
    """One request in one step."""

    name: str
    row: int
    """Its row in vLLM's block table."""
    computed: int
    """Tokens of it that earlier steps have put into the cache of layer 0."""
    scheduled: int
    """Tokens of it in this step, 1 or more."""
    prompt: int
    """Length of its prompt, in tokens. A request that was preempted computes its answer's tokens anew with it."""
    visual: torch.Tensor
    """(V,) ascending indices of its visual tokens that may be pruned, on the CPU."""

    @property
    def is_answering(self) -> bool:
        """Whether the whole prompt went through the decoder in earlier steps."""
        return self.computed >= self.prompt

    @property
    def ends_prompt(self) -> bool:
        """Whether this step has the prompt's last token, by which visual tokens are ranked."""
        return not self.is_answering and self.computed + self.scheduled >= self.prompt


class Step(NamedTuple):
    """What vLLM runs at once."""

    requests: list[Request]
    """In the order of their tokens."""
    alive: Container[str]
    """Names of all requests that the worker knows, whether or not they are in this step."""


def prunable(ranges: Iterable[tuple[int, int, torch.Tensor | None]], prompt: int) -> torch.Tensor:
    """Indices of a prompt's visual tokens, except the last token of the prompt, which has to predict the answer.

    Args:
        ranges: offset and length of each image or video in the prompt, and (length,) bool, true at its visual tokens;
            None stands for all of them.
        prompt: number of tokens of the prompt.

    Returns:
        (V,) LongTensor, ascending, on the CPU.
    """
    is_visual = torch.zeros(prompt, dtype=torch.bool)
    for offset, length, mask in ranges:
        is_visual[offset : offset + length] |= torch.ones(length, dtype=torch.bool) if mask is None else mask.cpu()
    is_visual[-1:] = False
    return is_visual.nonzero()[:, 0]


def visual_tokens(features: Iterable[Any], prompt: int) -> torch.Tensor:
    """The same of a request of vLLM, from its `mm_features`."""
    places = [feature.mm_position for feature in features]
    return prunable([(place.offset, place.length, place.is_embed) for place in places], prompt)


def visual_left(keeps: Sequence[Keep], visual: int) -> list[int]:
    """How many of a prompt's `visual` visual tokens there are before the first Keep, and after each of them."""
    left = [visual]
    for keep in keeps:
        left.append(keep.remaining(visual, left[-1]))
    return left


def cache_entries(tokens: int, prompt: int, dropped: int) -> int:
    """Entries that a request needs in the caches of pruned layers.

    A prompt that comes in parts needs them when its last token has come. They are asked for as the parts come, so that
    they are there by then.

    Args:
        tokens: number of its tokens that have been computed, with this step's.
        prompt: length of its prompt, in tokens.
        dropped: number of its visual tokens that are missing in these layers.
    """
    return min(tokens, max(tokens, prompt) - dropped)


def layer_places(keep_layers: Sequence[int], layers: int) -> list[tuple[int, bool]]:
    """How the layers of a decoder share KV cache blocks.

    Layers with the same number of Keeps before them have caches of the same length. vLLM cuts each such set into groups
    of equal size, takes the smallest set for that size, and fills up groups with layers that do not exist. With as many
    layers set apart as divide all sets, that is the size, and nothing is filled up.

    Args:
        keep_layers: of the Keeps.
        layers: number of layers.

    Returns:
        For each layer, the number of Keeps up to it, and whether it is set apart.
    """
    keeps = [sum(at <= layer for at in keep_layers) for layer in range(layers)]
    size = gcd(*Counter(keeps).values())
    return [(number, layer < size) for layer, number in enumerate(keeps)]


class Span(NamedTuple):
    """Consecutive tokens of one request in a layer's compact cache."""

    row: int
    """Of the block table."""
    past: int
    """Entries of the request's cache before these tokens."""
    length: int


def cache_entries_of(spans: Sequence[Span]) -> tuple[torch.Tensor, torch.Tensor]:
    """Row of the block table and entry of the compact cache for each token of these spans.

    Returns:
        Two LongTensors (total length,), on the CPU.
    """
    rows = torch.tensor([span.row for span in spans], dtype=torch.long)
    lengths = torch.tensor([span.length for span in spans], dtype=torch.long)
    entries = [torch.arange(span.past, span.past + span.length) for span in spans]
    return torch.repeat_interleave(rows, lengths), torch.cat(entries)


def cache_slots(rows: torch.Tensor, entries: torch.Tensor, blocks: torch.Tensor, block_size: int) -> torch.Tensor:
    """Where vLLM's KV cache has tokens.

    Args:
        rows: (n,) row of each token in the block table.
        entries: (n,) its entry in the cache of its request.
        blocks: (rows, b) numbers of each request's blocks.
        block_size: entries of a block.

    Returns:
        (n,) LongTensor: number of the block times `block_size`, plus the entry in it.
    """
    return blocks[rows, entries // block_size].long() * block_size + entries % block_size


@dataclass(frozen=True)
class Chunk:
    """The tokens of one request that go through the present layer, n of them."""

    request: Request
    past: int
    """Tokens of the request in the caches of these layers before this step."""
    index: torch.Tensor
    """(n,) ascending indices of the tokens in the request, on the CPU."""

    @classmethod
    def start(cls, request: Request) -> "Chunk":
        """All tokens of the step, as they enter layer 0."""
        index = torch.arange(request.computed, request.computed + request.scheduled)
        return cls(request, request.computed, index)

    @cached_property
    def visual(self) -> torch.Tensor:
        """(n,) bool: the token is a visual one that may be pruned."""
        if self.request.is_answering:
            return torch.zeros(len(self.index), dtype=torch.bool)
        return torch.isin(self.index, self.request.visual)

    @property
    def span(self) -> Span:
        """All n tokens."""
        return Span(self.request.row, self.past, len(self.index))

    def runs(self, wanted: torch.Tensor) -> list[Span]:
        """The tokens where `wanted` (n,) bool is true, as runs without gaps."""
        steps = torch.nn.functional.pad(wanted.int(), (1, 1)).diff()
        starts, ends = (steps == 1).nonzero()[:, 0].tolist(), (steps == -1).nonzero()[:, 0].tolist()
        return [Span(self.request.row, self.past + start, end - start) for start, end in zip(starts, ends, strict=True)]
