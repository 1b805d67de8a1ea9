"""Which plans take part in a comparison: every method at every budget, and why some of them do not."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from halfv_core.errors import HalfVError
from halfv_core.families import Family, parts_of
from halfv_core.methods import METHODS, Method, Target, plan_at
from halfv_core.plan import Plan
from halfv_core.processors import Inputs
from halfv_core.profile import Profile
from probe.evaluation.methods.records import NO_DEARER, Candidate, Refusal, label_of
from probe.evaluation.variants import FULL

PROFILE = "profile"
"""The name of a profile's plan."""
CALIBRATED = "calibrated"
"""The name of the plans of a profile's frontier."""
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
    setting: str = ""
    """What is set otherwise than by default; empty for nothing."""
    candidates: tuple[Candidate, ...] = ()
    """The settings among which this one was chosen."""

    @property
    def label(self) -> str:
        """What stands for the entrants among which tuning chooses; see `label_of`."""
        return label_of(self.method, self.budget, self.setting)

    @property
    def key(self) -> str:
        """Its name in the journal."""
        return f"{self.label} ({self.setting})" if self.setting and self.budget is not None else self.label

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
    profiles: Mapping[str, Profile] = {},
    on_method: Callable[[], None] = lambda: None,
    *,
    tuning: bool = False,
) -> tuple[list[Entrant], list[Refusal]]:
    """The plans of a comparison, and the methods that have none, with the reason.

    A method that can be set to none of the budgets takes part once, with its own settings; VisiPruner also with its
    published ones, where a profile has others.

    Args:
        names: registered methods.
        profiles: those whose plans take part, by what tells them apart, which is empty for the first.
        tuning: whether all settings that a method offers take part at each budget, next to each other.
    """
    found, refused = [Entrant(FULL, "full model", False, None, Plan(()))], []
    for place, profile in profiles.items():
        plans, reasons = _plans_of(profile, f":{place}" if place else "", budgets)
        found += plans
        refused += reasons
    for name in names:
        method = METHODS[name]()
        plans, reasons = _plans(name, method, target, budgets, tuning)
        found += plans
        refused += reasons
        on_method()
    return found, refused


def _plans_of(profile: Profile, suffix: str, budgets: Sequence[float]) -> tuple[list[Entrant], list[Refusal]]:
    """A profile's own plan, and the best of its frontier at each budget."""
    whose = f"the profile {suffix[1:]}" if suffix else "this profile"
    own = Entrant(f"{PROFILE}{suffix}", whose, False, None, profile.plan)
    base = Entrant(f"{CALIBRATED}{suffix}", f"frontier of {whose}", False, None, Plan(()))
    found, refused = [own], []
    for budget in budgets:
        plan = plan_of_frontier(profile, budget)
        if plan is None:
            most = max((test.flops_ratio for test in profile.pruning_tests), default=1.0)
            reason = f"the plans that the calibration tried save up to {most:.2f}x"
            refused.append(base._replace(budget=budget).refused(reason))
        else:
            found.append(base._replace(budget=budget, plan=plan))
    return found, refused


def plan_of_frontier(profile: Profile, flops_ratio: float) -> Plan | None:
    """The plan with the highest retention among those that a calibration tried and that cost no more than a budget.

    See `Profile.best_at`. None if no plan is as cheap as that.
    """
    best = profile.best_at(NO_DEARER * flops_ratio)
    return None if best is None else best.plan


def _plans(
    name: str, method: Method, target: Target, budgets: Sequence[float], tuning: bool
) -> tuple[list[Entrant], list[Refusal]]:
    base = Entrant(name, method.title, _is_control(name), None, Plan(()))
    reason = method.refusal(target)
    if reason is not None:
        return [], [base.refused(reason)]
    found, refused = [], []
    variants = method.variants(target) if tuning else (method,)
    for budget in budgets:
        entrant = base._replace(budget=budget)
        plans, reasons = _plans_at(variants, target, budget)
        found += [entrant._replace(plan=plan, setting=setting) for setting, plan in plans.items()]
        if not plans:
            refused.append(entrant.refused(reasons[0]))
    if not found:
        # Settings of a method that has a budget are for tuning.
        offered = method.variants(target) if method.by_retention else (method,)
        try:
            found += [base._replace(plan=one.default(target), setting=one.setting) for one in offered]
        except HalfVError as error:
            return [], [base.refused(str(error))]
    return found, refused


def _plans_at(variants: Sequence[Method], target: Target, budget: float) -> tuple[dict[str, Plan], list[str]]:
    """The different plans of variants at a budget, by setting; and why the others have none."""
    plans: dict[str, Plan] = {}
    reasons = []
    for variant in variants:
        try:
            plan = plan_at(variant, target, budget)
        except HalfVError as error:
            reasons.append(str(error))
            continue
        if plan not in plans.values():
            plans[variant.setting] = plan
    return plans, reasons


def _is_control(name: str) -> bool:
    return name in CONTROLS or METHODS[name].source == "control"
