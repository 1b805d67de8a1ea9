"""What an ablation writes down: every answer with its grade, and for each variant what they add up to."""

from collections.abc import Mapping, Sequence

import numpy as np

from halfv_core.cost import Cost
from halfv_core.plan import Plan
from halfv_core.records import Record
from probe.common.statistics import bootstrap, by_family, family_mean, interval
from probe.evaluation.grading import Kind
from probe.evaluation.variants import FULL


class Outcome(Record):
    """One sample under one plan."""

    answer: str
    """Greedy."""
    grade: float
    """How right it is, 0..1."""
    log_likelihood: float
    """Mean log-probability of the reference answer's tokens, nats a token."""
    first_token_seconds: float
    """Wall time from the inputs to the first token, vision tower included."""
    cost: Cost


class Comparison(Record):
    """One sample under every variant."""

    id: str
    family: str
    references: tuple[str, ...]
    grading: Kind
    """By which measure its answers are graded."""
    outside_flops: int
    """Of the prefill outside the decoder's layers: vision tower, projector, LM head."""
    outcomes: dict[str, Outcome]
    """By variant."""


class Summary(Record):
    """One variant over all samples. Ratios compare with the full model; 2 reads "half of it"."""

    plan: Plan
    by_family: dict[str, float]
    """Mean grade of each question family."""
    accuracy: float
    """Their mean, so that no family weighs more for having more questions; so are all means here."""
    retention: float | None
    """Accuracy over the full model's; null where that has none."""
    retention_interval: tuple[float, float] | None
    """95 %, by bootstrap; null where there are too few samples, or too few that the full model gets right."""
    agreement: float
    """Share of answers that are the full model's, letter by letter."""
    log_likelihood: float
    """Of the reference answers, nats a token."""
    log_likelihood_change: float
    """Against the full model."""
    log_likelihood_interval: tuple[float, float] | None
    """Of that change."""
    visual_flops_ratio: float
    """Prefill FLOPs of the visual tokens alone, as papers count; see halfv_core.cost."""
    flops_ratio: float
    """Prefill FLOPs of the decoder's layers, all tokens."""
    model_flops_ratio: float
    """Prefill FLOPs of the whole model: with vision tower, projector and LM head."""
    kv_ratio: float
    """Bytes of the cache after the answers."""
    first_token_ratio: float
    """Measured time to the first token, summed over the samples."""


def summarise(plans: Mapping[str, Plan], comparisons: Sequence[Comparison], seed: int = 0) -> dict[str, Summary]:
    """Every variant over the same samples.

    Args:
        plans: by variant, the full model among them.
        comparisons: one or more, each with all variants.
        seed: of the bootstrap.
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
