"""The variants of a plan that show what each part contributes: each part alone, both, and the wrong treatment.

The method removes inherited visual redundancy (IVR) by one pruning at the start of Stage II, and secondary saturation
redundancy (SSR) in Stage III by the treatment that suits the model (HalfV, arXiv 2604.16462). It claims that the other
treatment does harm, so that one is run as well.
"""

from typing import NamedTuple

from halfv_core.errors import HalfVError
from halfv_core.plan import AnyIntervention, Keep, Plan
from halfv_core.profile import Profile, Saturation

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
    start = profile.stages.saturation_start
    last = profile.layers if start is None else start
    ivr = tuple(item for item in profile.plan.keeps if item.layer < last)
    ssr = tuple(item for item in profile.plan.interventions if item not in ivr)
    wrong = _wrong_treatment(profile.saturation, ivr) if ssr else None
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


def _wrong_treatment(saturation: Saturation, ivr: tuple[Keep, ...]) -> Plan | str:
    """IVR, and in Stage III the treatment that was tested at the same layer and not chosen; or why there is none."""
    others = [test.plan for test in saturation.tests if test.treatment != saturation.type]
    if len(others) != 1:
        return "the profile does not say what else was tried in Stage III"
    return Plan((*ivr, *(_at_most(item, ivr) for item in others[0].interventions)))


def _at_most(item: AnyIntervention, ivr: tuple[Keep, ...]) -> AnyIntervention:
    """Limit a share of the original tokens to the share of them that is left; a number of tokens limits itself."""
    ratios = [keep.keep_ratio for keep in (item, *ivr) if isinstance(keep, Keep) and keep.keep_ratio is not None]
    if not isinstance(item, Keep) or item.keep_ratio is None:
        return item
    return item.model_copy(update={"keep_ratio": min(ratios)})
