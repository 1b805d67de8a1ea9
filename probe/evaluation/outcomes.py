"""The records of an ablation: every answer with its grade, and a summary of each variant."""

from collections.abc import Mapping, Sequence

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
    right, likely = (bootstrap(values, families, seed=seed) for values in (grades, likelihoods))  # (draws, variants)
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = right / right[:, [full]]
    change = likely - likely[:, [full]]
    accuracy = [family_mean(values, families) for values in grades]
    likelihood = [family_mean(values, families) for values in likelihoods]
    same = [[float(one.outcomes[name].answer == one.outcomes[FULL].answer) for one in comparisons] for name in plans]
    return {
        name: Summary(
            plan=plan,
            by_family=by_family(grades[row], families),
            accuracy=accuracy[row],
            retention=accuracy[row] / accuracy[full] if accuracy[full] else None,
            retention_interval=interval(kept[:, row], families),
            agreement=family_mean(same[row], families),
            log_likelihood=likelihood[row],
            log_likelihood_change=likelihood[row] - likelihood[full],
            log_likelihood_interval=interval(change[:, row], families),
            **_ratios(name, comparisons),
        )
        for row, (name, plan) in enumerate(plans.items())
    }


def _ratios(name: str, comparisons: Sequence[Comparison]) -> dict[str, float]:
    cost = sum((one.outcomes[name].cost for one in comparisons[1:]), start=comparisons[0].outcomes[name].cost)
    outside = sum(one.outside_flops for one in comparisons)
    full, own = (sum(one.outcomes[run].first_token_seconds for one in comparisons) for run in (FULL, name))
    return {
        "visual_flops_ratio": cost.visual_flops_ratio,
        "flops_ratio": cost.flops_ratio,
        "model_flops_ratio": (outside + cost.prefill_flops_full) / (outside + cost.prefill_flops),
        "kv_ratio": cost.kv_ratio,
        "first_token_ratio": full / own,
    }
