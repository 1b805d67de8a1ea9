"""The runs that say what each part of a plan brings: each part alone, both, and the wrong treatment of Stage III.

The method removes inherited visual redundancy (IVR) by one pruning at the start of Stage II, and secondary saturation
redundancy (SSR) in Stage III by the treatment that fits the model. That the other treatment does harm is its claim, so
it is tried.
"""

from typing import NamedTuple

from halfv_core.errors import HalfVError
from halfv_core.plan import Freeze, Keep, Plan
from halfv_core.profile import Profile, Saturation

FULL = "full"
"""The model without a plan."""
NAMES = (FULL, "ivr", "ssr", "ivr+ssr", "wrong_ssr")

_NO_IVR = "the plan prunes nothing at Stage II"
_NO_SSR = "the plan leaves Stage III alone"


class Variants(NamedTuple):
    """Plans by name, those of `NAMES` that the profile has, and why the others do not exist."""

    plans: dict[str, Plan]
    missing: dict[str, str]

    def only(self, names: tuple[str, ...]) -> "Variants":
        """Those asked for; all, if none are. The full model is always among them.

        Raises:
            HalfVError: a name that is not known, or a variant that this profile does not have.
        """
        for name in names:
            if name not in NAMES:
                raise HalfVError("unknown variant", got=name, expected=" or ".join(NAMES))
            if name in self.missing:
                raise HalfVError(f"this profile has no variant '{name}': {self.missing[name]}")
        wanted = {FULL, *names} if names else set(NAMES)
        return Variants(
            {name: plan for name, plan in self.plans.items() if name in wanted},
            {name: why for name, why in self.missing.items() if name in wanted},
        )


def variants_of(profile: Profile) -> Variants:
    """Take the plan of a profile apart."""
    start = profile.stages.saturation_start
    last = profile.layers if start is None else start
    ivr = tuple(item for item in profile.plan.keeps if item.layer < last)
    ssr = tuple(item for item in profile.plan.interventions if item not in ivr)
    wrong = _wrong(profile.saturation, ivr) if ssr else None
    found = {
        FULL: Plan(()),
        "ivr": Plan(ivr) if ivr else _NO_IVR,
        "ssr": Plan(ssr) if ssr else _NO_SSR,
        "ivr+ssr": profile.plan if ivr and ssr else _NO_SSR if ivr else _NO_IVR,
        "wrong_ssr": wrong or _NO_SSR,
    }
    return Variants(
        {name: plan for name, plan in found.items() if isinstance(plan, Plan)},
        {name: why for name, why in found.items() if isinstance(why, str)},
    )


def _wrong(saturation: Saturation, ivr: tuple[Keep, ...]) -> Plan | str:
    """IVR, and in Stage III what was tried there and not chosen; the profile holds it, from the same layer."""
    others = [test.plan for test in saturation.tests if test.treatment != saturation.type]
    if len(others) != 1:
        return "the profile does not say what else was tried in Stage III"
    least = min((keep.keep_ratio for keep in ivr), default=1.0)
    return Plan((*ivr, *(_at_most(item, least) for item in others[0].interventions)))


def _at_most(item: Keep | Freeze, ratio: float) -> Keep | Freeze:
    """A share of the original tokens cannot be larger than what is left of them."""
    return item.model_copy(update={"keep_ratio": min(item.keep_ratio, ratio)}) if isinstance(item, Keep) else item
