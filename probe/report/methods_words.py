"""What a comparison of methods says, in sentences."""

from collections.abc import Sequence

from probe.evaluation.methods import MethodComparison, Row
from probe.evaluation.methods.records import NO_DEARER

OWN = ("profile", "calibrated", "halfv")
"""This project's own plans: a profile's, the best of its frontier at a budget, and the method at a budget."""


def verdicts(comparison: MethodComparison) -> list[str]:
    """A sentence for each budget, and one for each plan of this project."""
    by_budget = [_at_budget(comparison, budget) for budget in comparison.budgets]
    own = [_own(comparison, row) for row in comparison.rows if row.method.partition(":")[0] in OWN]
    return [sentence for sentence in (*by_budget, *own) if sentence]


def tuned(row: Row) -> str:
    """What tuning set otherwise than by default, and what it found; empty without tuning."""
    chosen, default = row.chosen, row.by_default
    if chosen is None or chosen.accuracy is None:
        return row.setting
    if default is None:
        before = "the default does not reach the budget"
    else:
        before = "the default failed" if default.accuracy is None else f"default {default.accuracy:.3f}"
    found = f"{chosen.accuracy:.3f} on the tuning samples"
    return f"{row.setting}: {found}, {before}" if row.setting else f"default: {found}, best of {len(row.candidates)}"


def not_run(comparison: MethodComparison) -> list[str]:
    """A sentence for each method that was refused, with the budgets that share a reason."""
    budgets: dict[tuple[str, str], list[str]] = {}
    for one in comparison.refused:
        places = budgets.setdefault((one.method, one.reason), [])
        places += [] if one.budget is None else [f"{one.budget:g}x"]
    return [f"{method}{_at(places)}: {reason}" for (method, reason), places in budgets.items()]


def _at(places: Sequence[str]) -> str:
    return f" at {', '.join(places)}" if places else ""


def better(comparison: MethodComparison, row: Row) -> list[Row]:
    """The rows that keep more than this one at no higher cost, best first."""
    found = [
        other
        for other in comparison.rows
        if other.flops_ratio >= NO_DEARER * row.flops_ratio and _kept(other) > _kept(row)
    ]
    return sorted(found, key=_kept, reverse=True)


def _at_budget(comparison: MethodComparison, budget: float) -> str:
    rows = [row for row in comparison.rows if row.budget == budget]
    methods = sorted((row for row in rows if not row.is_control), key=_kept, reverse=True)
    controls = sorted((row for row in rows if row.is_control), key=_kept, reverse=True)
    if not methods or not controls:
        return ""
    floor = _kept(controls[0])
    above = sum(_kept(row) > floor for row in methods)
    return (
        f"At {budget:g}x fewer FLOPs {methods[0].method} keeps most, {_share(methods[0])}; {above} of {len(methods)} "
        f"methods keep more than {controls[0].method} ({_share(controls[0])})."
    )


def _own(comparison: MethodComparison, row: Row) -> str:
    name = "This profile" if row.method == "profile" else row.label
    says = f"{name} keeps {_share(row)} at {row.flops_ratio:.2f}x fewer FLOPs"
    others = better(comparison, row)
    if not others:
        return f"{says}; no other plan here keeps more at no higher cost."
    return f"{says}; it loses to {listed([f'{other.label} ({_share(other)})' for other in others])}."


def listed(names: Sequence[str], shown: int = 5) -> str:
    """Names in a sentence, the first ones of many."""
    more = [f"{len(names) - shown} more"] if len(names) > shown else []
    names = [*names[:shown], *more]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _kept(row: Row) -> float:
    return row.retention or 0.0


def _share(row: Row) -> str:
    return "-" if row.retention is None else f"{row.retention:.1%}"
