"""The variants of a plan that show what each part contributes: each part alone, both, and the wrong treatment.

The method removes inherited visual redundancy (IVR) by one pruning at the start of Stage II, and secondary saturation
redundancy (SSR) in Stage III by the treatment that suits the model (HalfV, arXiv 2604.16462). It claims that the other
treatment does harm, so that one is run as well.
"""

from typing import NamedTuple

from halfv_core.errors import HalfVError
from halfv_core.plan import AnyIntervention, Keep, Plan
from halfv_core.profile import Profile

FULL = "full"
"""The model without a plan."""
VARIANTS = (FULL, "ivr", "ssr", "ivr+ssr", "wrong_ssr")

_NO_IVR = "the plan prunes nothing at Stage II"
_NO_SSR = "the plan leaves Stage III alone"


class Variants(NamedTuple):
    """The variants that a profile has, and why it does not have the others."""

    plans: dict[str, Plan]
    """Name in `VARIANTS` -> plan."""
    missing: dict[str, str]
    """Name in `VARIANTS` -> why the profile does not have it."""

    def only(self, names: tuple[str, ...]) -> "Variants":
        """The named variants and the full model; all variants if no name is given.

        Raises:
            HalfVError: a name is unknown, or the profile does not have the variant.
        """
        for name in names:
            if name not in VARIANTS:
                raise HalfVError("unknown variant", got=name, expected=" or ".join(VARIANTS))
            if name in self.missing:
                raise HalfVError(f"this profile has no variant '{name}': {self.missing[name]}")
        wanted = {FULL, *names} if names else set(VARIANTS)
        return Variants(
            {name: plan for name, plan in self.plans.items() if name in wanted},
            {name: reason for name, reason in self.missing.items() if name in wanted},
        )


def variants_of(profile: Profile) -> Variants:
    """Derive the variants from the plan of a profile."""
    ivr = tuple(item for item in profile.plan.keeps if item.layer < _end_of_pruning(profile))
    ssr = tuple(item for item in profile.plan.interventions if item not in ivr)
    wrong = _wrong_treatment(profile, ivr, Plan(ssr).first_layer) if ssr else None
    plans_or_reasons = {
        FULL: Plan(()),
        "ivr": Plan(ivr) if ivr else _NO_IVR,
        "ssr": Plan(ssr) if ssr else _NO_SSR,
        "ivr+ssr": profile.plan if ivr and ssr else _NO_SSR if ivr else _NO_IVR,
        "wrong_ssr": wrong or _NO_SSR,
    }
    return Variants(
        {name: plan for name, plan in plans_or_reasons.items() if isinstance(plan, Plan)},
        {name: reason for name, reason in plans_or_reasons.items() if isinstance(reason, str)},
    )


def _end_of_pruning(profile: Profile) -> int:
    """The first layer at which a Keep is no longer IVR: behind the first frozen one, or where Stage III begins."""
    if profile.plan.frozen_layers:
        return min(profile.plan.frozen_layers) + 1
    start = profile.stages.saturation_start
    return profile.layers if start is None else start


def _wrong_treatment(profile: Profile, ivr: tuple[Keep, ...], start: int) -> Plan | str:
    """IVR, and from layer `start` on the treatment that was tested and not chosen; or why there is none."""
    others = [test.plan for test in profile.saturation.tests if test.treatment != profile.saturation.type]
    if len(others) != 1:
        return "the profile does not say what else was tried in Stage III"
    moved = [_from_layer(item, start, profile.layers) for item in others[0].interventions]
    taken = {item.layer for item in moved if isinstance(item, Keep)}
    return Plan((*(keep for keep in ivr if keep.layer not in taken), *(_at_most(item, ivr) for item in moved)))


def _from_layer(item: AnyIntervention, start: int, layers: int) -> AnyIntervention:
    """The same treatment from another layer on: a search may place it elsewhere than where it was tested."""
    moved = {"layer": start} if isinstance(item, Keep) else {"layers": tuple(range(start, layers))}
    return item.model_copy(update=moved)


def _at_most(item: AnyIntervention, ivr: tuple[Keep, ...]) -> AnyIntervention:
    """Limit a share of the original tokens to the share of them that is left; a number of tokens limits itself."""
    ratios = [keep.keep_ratio for keep in (item, *ivr) if isinstance(keep, Keep) and keep.keep_ratio is not None]
    if not isinstance(item, Keep) or item.keep_ratio is None:
        return item
    return item.model_copy(update={"keep_ratio": min(ratios)})
