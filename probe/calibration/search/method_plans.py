"""Published methods' plans, with which a search begins: they are proposals like any other."""

from transformers import PreTrainedConfig

from halfv_core.errors import PlanError
from halfv_core.methods import METHODS, Measured, Target, plan_at
from halfv_core.plan import Plan

RATIOS = (2.0, 3.0, 4.0)
"""FLOPs ratios at which the methods are set."""
_CONTROLS = ("random", "random_input", "uniform")


def method_plans(
    config: PreTrainedConfig, visual: int, text: int, redundancy: tuple[float, ...], wanted: float | None = None
) -> dict[str, list[Plan]]:
    """The plans by method, without methods that cannot be used here and those that look at the vision tower.

    The latter need the whole model to run again for each plan; `compare-methods` compares them.

    Args:
        visual, text: tokens of the mean prompt.
        redundancy: (L,) the KL curve, which ShortV takes.
        wanted: a further FLOPs ratio.
    """
    target = Target.of(config, visual, text, Measured(layer_redundancy=redundancy))
    ratios = sorted({*RATIOS, *([] if wanted is None else [wanted])})
    found: dict[str, list[Plan]] = {}
    for name in METHODS:
        method = METHODS[name]()
        if name in _CONTROLS or method.refusal(target) is not None:
            continue
        for ratio in ratios:
            try:
                plan = plan_at(method, target, ratio)
            except PlanError:
                continue
            if plan.is_known_beforehand and not plan.reads() & {"vision", "grids", "transitions"}:
                found.setdefault(name, []).append(plan)
    return found
