"""The default plan of a benchmark: the settings of the public HalfV release, scaled to the model's depth.

Source: arXiv 2604.16462 and the release civilizwa/HalfV; one pruning at the start of Stage II, one treatment of Stage
III.
"""

from typing import NamedTuple

from halfv_core.errors import PlanError
from halfv_core.plan import Freeze, Keep, Plan


class PublishedPlan(NamedTuple):
    """The settings of the release for one model."""

    model_type: str
    layers: int
    """Number of decoder layers of that model."""
    plan: Plan


def _pruning(layer: int, ratio: float, anchor_share: float) -> Keep:
    return Keep(layer=layer, keep_ratio=ratio, options={"anchor_share": anchor_share})


PUBLISHED = (
    PublishedPlan("llava", 32, Plan((_pruning(3, 0.5, 0.2), Freeze(layers=range(15, 32))))),
    PublishedPlan("llava", 40, Plan((_pruning(3, 0.5, 0.2), Freeze(layers=range(15, 40))))),
    PublishedPlan("llava_next", 32, Plan((_pruning(2, 0.5, 0.1), Freeze(layers=range(16, 32))))),
    PublishedPlan(
        "qwen2_5_vl", 28, Plan((_pruning(2, 0.25, 0.1), Keep(layer=21, keep_ratio=0.05, selector="attention")))
    ),
)


def published_plan(model_type: str, depth: int, layers: int | None = None) -> Plan:
    """The release's plan for a model, scaled by relative depth.

    Args:
        depth: number of decoder layers of the complete model; the release's model of the nearest depth is used.
        layers: number of decoder layers that run, if only a slice of the model does.

    Raises:
        PlanError: the release has no settings for this `model_type`, or the slice has too few layers for them.
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
    """Scale Keeps and Freezes for `depth` layers to the same relative depths of `layers` layers, from layer 1 on.

    Raises:
        PlanError: two keeps fall on the same layer, or one falls beyond the last layer.
    """

    def scaled_layer(layer: int) -> int:
        return layer if layers == depth else max(1, round(layer * layers / depth))

    items: list[Keep | Freeze] = []
    for keep in plan.keeps:
        items.append(keep.model_copy(update={"layer": scaled_layer(keep.layer)}))
    for freeze in plan.freezes:
        first, end = scaled_layer(freeze.layers[0]), scaled_layer(freeze.layers[-1] + 1)
        items.append(Freeze(layers=range(first, max(end, first + 1))))
    scaled_plan = Plan(items)
    scaled_plan.check_depth(layers)
    return scaled_plan
