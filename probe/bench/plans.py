"""The plan that a benchmark runs when none is given: what the public HalfV release sets, scaled to a model's depth.

Source: arXiv 2604.16462 and the release civilizwa/HalfV: a pruning at the start of Stage II, a treatment of Stage III.
"""

from typing import NamedTuple

from halfv_core.errors import PlanError
from halfv_core.plan import Freeze, Keep, Plan


class Published(NamedTuple):
    """Settings of the release for one model."""

    model_type: str
    layers: int
    """Decoder layers of that model."""
    plan: Plan


def _inherited(layer: int, ratio: float, anchor_share: float) -> Keep:
    return Keep(layer=layer, keep_ratio=ratio, options={"anchor_share": anchor_share})


PUBLISHED = (
    Published("llava", 32, Plan((_inherited(3, 0.5, 0.2), Freeze(layers=range(15, 32))))),
    Published("llava", 40, Plan((_inherited(3, 0.5, 0.2), Freeze(layers=range(15, 40))))),
    Published("llava_next", 32, Plan((_inherited(2, 0.5, 0.1), Freeze(layers=range(16, 32))))),
    Published(
        "qwen2_5_vl", 28, Plan((_inherited(2, 0.25, 0.1), Keep(layer=21, keep_ratio=0.05, selector="attention")))
    ),
)


def published_plan(model_type: str, depth: int, layers: int | None = None) -> Plan:
    """The release's plan for a model, scaled by relative depth to the layers that are there.

    Args:
        depth: decoder layers of the whole model; the release's model nearest to it in depth is taken.
        layers: decoder layers of a slice of it.

    Raises:
        PlanError: the release has no settings for this kind of model, or the slice is too thin for them.
    """
    fitting = [published for published in PUBLISHED if published.model_type == model_type]
    if not fitting:
        raise PlanError(
            f"no published plan for model_type '{model_type}'",
            remedy="give one: --profile profile.json, or --keep 2=0.25 and --freeze 15-31",
        )
    nearest = min(fitting, key=lambda published: abs(published.layers - depth))
    return scaled(nearest.plan, nearest.layers, layers or depth)


def scaled(plan: Plan, depth: int, layers: int) -> Plan:
    """A plan for `depth` layers at the same relative depths of `layers` layers, none above layer 1.

    Raises:
        PlanError: two keeps meet at one layer, or one falls behind the last.
    """

    def at(layer: int) -> int:
        return layer if layers == depth else max(1, round(layer * layers / depth))

    items: list[Keep | Freeze] = []
    for item in plan.interventions:
        if isinstance(item, Keep):
            items.append(item.model_copy(update={"layer": at(item.layer)}))
        else:
            first, end = at(item.layers[0]), at(item.layers[-1] + 1)
            items.append(Freeze(layers=range(first, max(end, first + 1))))
    found = Plan(items)
    found.check_depth(layers)
    return found
