"""Which plans take part in a comparison: every method at every budget, and why some of them do not."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from halfv_core.errors import HalfVError
from halfv_core.families import Family, parts_of
from halfv_core.methods import METHODS, Method, Target, plan_at
from halfv_core.plan import Plan
from halfv_core.processors import Inputs
from halfv_core.profile import Profile
from probe.evaluation.methods.records import Refusal
from probe.evaluation.variants import FULL

PROFILE = "profile"
"""The name of a profile's plan."""
CONTROLS = ("random", "uniform")
"""Methods that always take part; so do others whose source is `control`."""
ALL = "all"


class Entrant(NamedTuple):
    """One plan of a comparison."""

    method: str
    title: str
    is_control: bool
    budget: float | None
    plan: Plan

    @property
    def key(self) -> str:
        """Its name in the journal."""
        return self.method if self.budget is None else f"{self.method} {self.budget:g}x"

    def refused(self, reason: str) -> Refusal:
        """The refusal that takes its place."""
        return Refusal(method=self.method, title=self.title, budget=self.budget, reason=reason)


def chosen_methods(names: Iterable[str]) -> list[str]:
    """The named methods, all of them for `all` or for no name, with the controls, which come first; by name.

    Raises:
        PlanError: an unknown method.
    """
    wanted = set(names) or {ALL}
    if ALL in wanted:
        wanted = (wanted - {ALL}) | set(METHODS)
    for name in sorted(wanted):
        METHODS[name]  # refuses an unknown one
    return sorted(
        wanted | {name for name in METHODS if _is_control(name)}, key=lambda name: (not _is_control(name), name)
    )


def budgets_of(ratios: Sequence[float]) -> tuple[float, ...]:
    """The budgets, ascending, each once.

    Raises:
        HalfVError: none, or one that is not above 1.
    """
    for ratio in ratios or [1.0]:
        if not 1 < ratio < float("inf"):
            got = ratio if ratios else "none"
            raise HalfVError("a budget is how many times fewer FLOPs", got=got, expected="numbers above 1, as in 2,3,4")
    return tuple(sorted(set(ratios)))


def typical_prompt(model: PreTrainedModel, prompts: Iterable[Inputs], family: Family | None = None) -> tuple[int, int]:
    """Mean numbers of visual and of text tokens, rounded.

    Args:
        prompts: one or more prompts, each a batch of one.
    """
    ids = torch.tensor(parts_of(model, family).visual_ids)
    counts = [
        (int(torch.isin(one, ids).sum()), one.shape[1]) for one in (inputs["input_ids"].cpu() for inputs in prompts)
    ]
    visual, whole = (sum(values) / len(counts) for values in zip(*counts, strict=True))
    return round(visual), round(whole - visual)


def entrants(
    names: Sequence[str],
    target: Target,
    budgets: Sequence[float],
    profile: Profile | None = None,
    on_method: Callable[[], None] = lambda: None,
) -> tuple[list[Entrant], list[Refusal]]:
    """The plans of a comparison, and the methods that have none, with the reason.

    A method that can be set to none of the budgets takes part once, with its own settings.

    Args:
        names: registered methods.
        profile: one whose plan takes part as it is.
    """
    found, refused = [Entrant(FULL, "full model", False, None, Plan(()))], []
    if profile is not None:
        found.append(Entrant(PROFILE, "this profile", False, None, profile.plan))
    for name in names:
        method = METHODS[name]()
        plans, reasons = _plans(name, method, target, budgets)
        found += plans
        refused += reasons
        on_method()
    return found, refused


def _plans(name: str, method: Method, target: Target, budgets: Sequence[float]) -> tuple[list[Entrant], list[Refusal]]:
    base = Entrant(name, method.title, _is_control(name), None, Plan(()))
    reason = method.refusal(target)
    if reason is not None:
        return [], [base.refused(reason)]
    plans, refused = [], []
    for budget in budgets:
        entrant = base._replace(budget=budget)
        try:
            plans.append(entrant._replace(plan=plan_at(method, target, budget)))
        except HalfVError as error:
            refused.append(entrant.refused(str(error)))
    if not plans:
        try:
            plans.append(base._replace(plan=method.default(target)))
        except HalfVError as error:
            return [], [base.refused(str(error))]
    return plans, refused


def _is_control(name: str) -> bool:
    return name in CONTROLS or METHODS[name].source == "control"
