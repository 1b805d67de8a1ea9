"""Many questions on one image in one sequence: prefix with the image, then question after question.

Each question sees the prefix and itself, and its positions start right after the prefix, so a packed sequence gives
every question exactly what it would get alone (tests compare the two), at the price of encoding the image once.
"""

from typing import NamedTuple

import torch
from torch import Tensor

Tally = dict[str, tuple[int, int]]
"""name -> (hits, count)."""


class Turn(NamedTuple):
    """A question as token ids: what the model is given after the image, and what it must answer."""

    family: str
    prompt: list[int]
    answer: list[int]


class Packed(NamedTuple):
    """A batch of packed sequences, (B, L) each; `owner` numbers the turn an answer token belongs to (-1: none)."""

    ids: Tensor
    labels: Tensor
    segments: Tensor
    offsets: Tensor
    owner: Tensor
    families: list[str]


IGNORED = -100


def pack(prefix: list[int], batch: list[list[Turn]], room: int, pad: int) -> Packed:
    """Lay out every image's turns behind the prefix, in sequences of len(prefix) + room tokens."""
    shape = (len(batch), len(prefix) + room)  # (B, L)
    ids, labels = torch.full(shape, pad), torch.full(shape, IGNORED)
    segments, offsets, owner = torch.full(shape, -1), torch.zeros(shape, dtype=torch.long), torch.full(shape, -1)
    ids[:, : len(prefix)] = torch.tensor(prefix)
    segments[:, : len(prefix)] = 0
    offsets[:, : len(prefix)] = torch.arange(len(prefix))
    families: list[str] = []
    for row, turns in enumerate(batch):
        start = len(prefix)
        for number, turn in enumerate(turns, 1):
            given = turn.prompt + turn.answer[:-1]  # the last answer token is only ever predicted
            stop, first = start + len(given), start + len(turn.prompt) - 1
            ids[row, start:stop] = torch.tensor(given)
            segments[row, start:stop] = number
            offsets[row, start:stop] = len(prefix) + torch.arange(len(given))
            labels[row, first:stop] = torch.tensor(turn.answer)
            owner[row, first:stop] = len(families)
            families.append(turn.family)
            start = stop
    return Packed(ids, labels, segments, offsets, owner, families)


def attention_mask(segments: Tensor) -> Tensor:
    """(B, L) segments -> (B, 1, L, L), True where a query may look: back, at the prefix or its own segment."""
    length = segments.shape[1]
    query, key = segments[:, :, None], segments[:, None, :]  # (B, L, 1), (B, 1, L)
    visible = torch.ones(length, length).tril().bool() & ((key == 0) | (key == query)) & (key >= 0)
    return (visible | torch.eye(length, dtype=torch.bool))[:, None]  # padding sees itself: no empty softmax rows


def answered(packed: Packed, right: Tensor) -> Tally:
    """By family, turns whose every answer token is right, and turns; from per-token hits on the labelled positions."""
    owner = packed.owner[packed.labels != IGNORED]
    wrong = torch.zeros(len(packed.families), dtype=torch.long).index_add_(0, owner, (~right).long())
    tally: Tally = {}
    for family, misses in zip(packed.families, wrong.tolist(), strict=True):
        hits, count = tally.get(family, (0, 0))
        tally[family] = (hits + (misses == 0), count + 1)
    return tally
