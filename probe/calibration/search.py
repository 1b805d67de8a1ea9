"""Which whole plans are tried, and which of them may be chosen; runs no model.

Without a target, the plans intervene at the detected stages and differ in their keep ratio; the cheapest safe plan is
chosen. With a target the search is wider: Stage II is pruned at the detected layer or at one of the two layers after
it, and either treatment, or none, starts at Stage III or halfway from there to the end.
"""

from collections.abc import Mapping, Sequence

from halfv_core.cost import DecoderShape, cost_of, tokens_by_layer
from halfv_core.plan import AnyIntervention, Keep, Option, Plan
from halfv_core.records import PruningTest, Saturation, Stages
from probe.analyzers.saturation import treatments
from probe.calibration.settings import Settings
from probe.trials.readings import Readings

EXTRA_LAYERS = 2
"""With a target, pruning is also tried at this many layers after the start of Stage II."""


def candidate_plans(stages: Stages, saturation: Saturation, layers: int, settings: Settings) -> list[Plan]:
    """The plans to try, without duplicates."""
    wide = settings.target_retention is not None or settings.target_flops is not None
    start, first = stages.saturation_start, stages.aggregation_start
    last = layers - 1 if start is None else start - 1
    prunings = range(first, max(first, min(first + EXTRA_LAYERS if wide else first, last)) + 1)
    plans = [
        Plan([*pruning, *(treatment if not (pruning and treatment) or _compatible(pruning[0], treatment[0]) else ())])
        for treatment in _stage_three_treatments(start, saturation, layers, settings.top_share, wide)
        for pruning in _stage_two_prunings(prunings, settings.keep_ratios, settings.selector, settings.options)
    ]
    return [plan for index, plan in enumerate(plans) if plan not in plans[:index]]


def _stage_two_prunings(
    layers: Sequence[int], keep_ratios: Sequence[float], selector: str, options: Mapping[str, Option]
) -> list[tuple[Keep, ...]]:
    keeps = [
        (Keep(layer=layer, keep_ratio=ratio, selector=selector, options=dict(options)),)
        for layer in layers
        for ratio in sorted(set(keep_ratios) - {1.0})
    ]
    return [*keeps, ()]


def _stage_three_treatments(
    start: int | None, saturation: Saturation, layers: int, top_share: float, wide: bool
) -> list[tuple[AnyIntervention, ...]]:
    if start is None:
        return [()]
    if not wide:
        treatment = saturation.type
        return [() if treatment == "none" else treatments(start, layers, top_share)[treatment].interventions]
    starts = sorted({start, (start + layers) // 2})
    return [(), *(plan.interventions for layer in starts for plan in treatments(layer, layers, top_share).values())]


def _compatible(pruning: Keep, treatment: AnyIntervention) -> bool:
    """Whether the treatment adds to the pruning: a Keep at the same layer, or of a larger share, does not."""
    if not isinstance(treatment, Keep):
        return pruning.layer <= Plan((treatment,)).first_layer
    grows = (treatment.keep_ratio or 0.0) > (1.0 if pruning.keep_ratio is None else pruning.keep_ratio)
    return pruning.layer < treatment.layer and not grows


def pruning_tests_of(
    plans: Sequence[Plan],
    readings: Sequence[Readings],
    shape: DecoderShape,
    tokens: tuple[int, int],
    settings: Settings,
) -> tuple[PruningTest, ...]:
    """Turn readings into tests, cheapest plan first.

    Args:
        tokens: visual and text tokens of the mean prompt.
    """
    tests = []
    for plan, reading in zip(plans, readings, strict=True):
        cost, quality = cost_of(shape, tokens_by_layer(plan, shape.layers, *tokens)), reading.quality()
        test = PruningTest(
            plan=plan,
            flops_ratio=cost.flops_ratio,
            kv_ratio=cost.kv_ratio,
            safe=quality.within(settings.thresholds),
            safe_share=reading.safe_share(settings.thresholds, settings.seed),
            **quality._asdict(),
        )
        tests.append(test)
    return tuple(sorted(tests, key=lambda test: (-test.flops_ratio, test.log_likelihood_drop)))


def eligible_tests(tests: Sequence[PruningTest], settings: Settings) -> list[PruningTest]:
    """The tests of plans that may be chosen, without duplicates, the best first.

    With `target_flops` these are the plans that reach it or, if none does, the one that comes closest. Otherwise the
    plan that saves least comes last, as the fallback.
    """
    fallback = min(tests, key=lambda test: test.flops_ratio)
    if settings.target_flops is not None:
        reached = [test for test in tests if test.flops_ratio >= settings.target_flops]
        closest = [max(tests, key=lambda test: test.flops_ratio)]
        return sorted(reached, key=lambda test: (-test.agreement, test.log_likelihood_drop)) or closest
    if settings.target_retention is not None:
        eligible = [test for test in tests if test.agreement >= settings.target_retention]
    else:
        eligible = [test for test in tests if test.safe]
    return [*(test for test in eligible if test != fallback), fallback]
