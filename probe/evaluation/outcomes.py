"""The records of an ablation: every answer with its grade, and a summary of each variant."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from halfv_core.cost import Cost
from halfv_core.plan import Plan
from halfv_core.records import Record
from probe.common.statistics import bootstrap, by_family, family_mean, interval
from probe.evaluation.grading import Metric
from probe.evaluation.variants import FULL


class Outcome(Record):
    """One sample under one plan."""

    answer: str
    """The greedy answer."""
    grade: float
    """How right the answer is, 0..1."""
    log_likelihood: float
    """Mean log-probability of the reference answer's tokens, nats per token."""
    first_token_seconds: float
    """Wall-clock time from the inputs to the first token, including the vision tower."""
    cost: Cost


class Comparison(Record):
    """One sample under every variant."""

    id: str
    family: str
    references: tuple[str, ...]
    grading: Metric
    """The metric by which its answers are graded."""
    outside_flops: int
    """FLOPs of the prefill outside the decoder's layers: vision tower, projector, LM head."""
    outcomes: dict[str, Outcome]
    """Variant -> outcome."""


class Summary(Record):
    """One variant over all samples.

    Means are taken over the question families' means. Ratios divide the full model's cost by the variant's, so that 2
    means half the cost.
    """

    plan: Plan
    by_family: dict[str, float]
    """Question family -> mean grade."""
    accuracy: float
    """Mean grade."""
    retention: float | None
    """Accuracy divided by the full model's; null if that is 0."""
    retention_interval: tuple[float, float] | None
    """95 % bootstrap interval; null if there are too few samples, or too few that the full model answers correctly."""
    agreement: float
    """Share of answers that equal the full model's, character by character."""
    log_likelihood: float
    """Mean log-likelihood of the reference answers, nats per token."""
    log_likelihood_change: float
    """Difference from the full model's log-likelihood."""
    log_likelihood_interval: tuple[float, float] | None
    """95 % bootstrap interval of that difference."""
    visual_flops_ratio: float
    """Ratio of the prefill FLOPs of visual tokens alone, as papers report it; see halfv_core.cost."""
    flops_ratio: float
    """Ratio of the prefill FLOPs of the decoder's layers, over all tokens."""
    model_flops_ratio: float
    """Ratio of the prefill FLOPs of the whole model, including vision tower, projector and LM head."""
    kv_ratio: float
    """Ratio of the KV cache bytes after the answers."""
    first_token_ratio: float
    """Ratio of the measured times to the first token, summed over the samples."""


def summarise(plans: Mapping[str, Plan], comparisons: Sequence[Comparison], seed: int = 0) -> dict[str, Summary]:
    """Summarise every variant over the same samples.

    Args:
        plans: variant -> plan, including the full model.
        comparisons: one or more, each with all variants.
        seed: seed of the bootstrap.
    """
    families = [one.family for one in comparisons]
    grades = [[one.outcomes[name].grade for one in comparisons] for name in plans]
    likelihoods = [[one.outcomes[name].log_likelihood for one in comparisons] for name in plans]
    full = list(plans).index(FULL)
    retained = retentions(grades, full, families, seed)
    likely = bootstrap(likelihoods, families, seed=seed)  # (draws, variants)
    change = likely - likely[:, [full]]
    accuracy = [family_mean(values, families) for values in grades]
    likelihood = [family_mean(values, families) for values in likelihoods]
    same = [[float(one.outcomes[name].answer == one.outcomes[FULL].answer) for one in comparisons] for name in plans]
    return {
        name: Summary(
            plan=plan,
            by_family=by_family(grades[row], families),
            accuracy=accuracy[row],
            retention=retained[row].share,
            retention_interval=retained[row].interval,
            agreement=family_mean(same[row], families),
            log_likelihood=likelihood[row],
            log_likelihood_change=likelihood[row] - likelihood[full],
            log_likelihood_interval=interval(change[:, row], families),
            **_ratios(name, comparisons),
        )
        for row, (name, plan) in enumerate(plans.items())
    }


class Retention(NamedTuple):
    """How much of the full model's accuracy a variant keeps."""

    share: float | None
    """Accuracy divided by the full model's; None if that is 0."""
    interval: tuple[float, float] | None
    """95 % bootstrap interval; None if there are too few samples, or too few that the full model answers correctly."""


def retentions(grades: Sequence[Sequence[float]], full: int, families: Sequence[str], seed: int) -> list[Retention]:
    """Retention of each variant.

    Args:
        grades: (variants, samples).
        full: index of the full model.
        families: the question family of each sample.
        seed: seed of the bootstrap, which is paired: all variants are graded on the same redrawn samples.
    """
    right = bootstrap(grades, families, seed=seed)  # (draws, variants)
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = right / right[:, [full]]
    accuracy = [family_mean(values, families) for values in grades]
    return [
        Retention(mean / accuracy[full] if accuracy[full] else None, interval(kept[:, row], families))
        for row, mean in enumerate(accuracy)
    ]


def cost_ratios(costs: Sequence[Cost], outside_flops: int) -> dict[str, float]:
    """The ratios of a `Summary` that follow from the costs of all samples.

    Args:
        costs: one for each sample, at least one.
        outside_flops: FLOPs of their prefills outside the decoder's layers, all together.
    """
    cost = sum(costs[1:], start=costs[0])
    return {
        "visual_flops_ratio": cost.visual_flops_ratio,
        "flops_ratio": cost.flops_ratio,
        "model_flops_ratio": (outside_flops + cost.prefill_flops_full) / (outside_flops + cost.prefill_flops),
        "kv_ratio": cost.kv_ratio,
    }


def _ratios(name: str, comparisons: Sequence[Comparison]) -> dict[str, float]:
    costs = [one.outcomes[name].cost for one in comparisons]
    full, own = (sum(one.outcomes[run].first_token_seconds for one in comparisons) for run in (FULL, name))
    outside = sum(one.outside_flops for one in comparisons)
    return cost_ratios(costs, outside) | {"first_token_ratio": full / own}
