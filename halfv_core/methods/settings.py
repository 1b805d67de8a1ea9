"""How settings that were published for one model are carried over to another one."""

import math
from collections.abc import Iterable
from typing import Literal, TypedDict, TypeVar

from halfv_core.methods.base import Method, Target
from halfv_core.plan import Keep, Plan

LLAVA_TOKENS = 576
"""Visual tokens of an image in LLaVA-1.5, of which papers count how many are kept."""
LLAVA_LAYERS = 32
"""Decoder layers of LLaVA-1.5-7B."""
QWEN_LAYERS = 28
"""Decoder layers of Qwen2-VL-7B and Qwen2.5-VL-7B."""
QWEN = frozenset({"qwen2_vl", "qwen2_5_vl", "qwen3_vl"})
"""Families with the decoder, the tower without a CLS token, and the positions of several axes that Qwen2-VL has."""
SEVERAL_ROTARIES = QWEN | {"gemma3"}
"""Families in which a token's position is more than one number, or is encoded in more than one way."""


DEPTHS = (0.25, 0.5, 0.75, 1.25)
"""Factors on published layers that are tried in tuning."""

M = TypeVar("M", bound=Method)


class Amount(TypedDict, total=False):
    """How much a Keep keeps."""

    tokens: int
    keep_ratio: float


def of_576(target: Target, tokens: int) -> Amount:
    """So many of LLaVA-1.5's 576 visual tokens: a number for prompts with as many, and a share for others."""
    return {"tokens": tokens} if target.visual == LLAVA_TOKENS else {"keep_ratio": tokens / LLAVA_TOKENS}


def layer_at(target: Target, layer: float, of: int = LLAVA_LAYERS, first: int = 1) -> int:
    """The layer at the same depth as `layer` in a decoder of `of` layers, rounded; at least `first`."""
    return at_depth(target.shape.layers, layer, of, first)


def at_depth(layers: int, layer: float, of: int = LLAVA_LAYERS, first: int = 1) -> int:
    """The same in a decoder of `layers` layers."""
    return min(max(first, round(layer * layers / of)), layers - 1)


def early_layers(target: Target) -> tuple[int, ...]:
    """Up to eight layers of the first half, without the first: all of them, or the closer together the earlier."""
    half = target.shape.layers // 2
    return tuple(range(1, half + 1)) if half <= 8 else tuple(n for n in (1, 2, 3, 4, 6, 8, 12, 16) if n <= half)


def distinct(target: Target, methods: Iterable[M]) -> tuple[M, ...]:
    """The methods whose default plans differ; of equal ones the first."""
    plans: list[Plan] = []
    found = []
    for method in methods:
        plan = method.default(target)
        if plan not in plans:
            plans.append(plan)
            found.append(method)
    return tuple(found)


def staged(keeps: Iterable[Keep]) -> Plan:
    """The plan of these Keeps, ascending by layer; of those that fall on one layer of a short decoder the last."""
    return Plan({keep.layer: keep for keep in keeps}.values())


def withdrawn_from(target: Target, layer: int) -> Plan:
    """All visual tokens leave at a layer; behind the last layer, none."""
    return Plan((Keep(layer=layer, keep_ratio=0.0),) if layer < target.shape.layers else ())


def tower_layer(target: Target) -> int:
    """The vision tower's layer whose output the projector takes: the last but one in LLaVA, the last in Qwen."""
    return -1 if target.model_type in QWEN or target.tower_layers == 1 else -2


def tower_layer_at(target: Target, layer: int, of: int) -> int:
    """The tower's layer at the same depth as `layer` in a tower of `of` layers."""
    depth = target.tower_layers or of
    return min(round(layer * depth / of), depth - 1)


def renumbered(target: Target) -> Literal["kept", "renumbered"]:
    """Whether positions are counted anew after a pruning: wherever a position is one number."""
    return "kept" if target.model_type in SEVERAL_ROTARIES else "renumbered"


def share_of(part: int, whole: int) -> float:
    """The share whose product with `whole`, rounded down, is `part`."""
    share = part / whole
    return share if math.floor(whole * share) == part else math.nextafter(share, 1.0)
