"""The runtime of halfv-probe: prune and freeze the visual tokens of an unmodified Hugging Face model, by a plan.

from halfv_core import Profile, apply
with apply(model, Profile.load("profile.json")):
    model.generate(**inputs)
"""

from halfv_core.errors import HalfVError
from halfv_core.families import Family
from halfv_core.plan import Freeze, Keep, Plan
from halfv_core.profile import Profile
from halfv_core.runtime import Run, apply

__all__ = ["Family", "Freeze", "HalfVError", "Keep", "Plan", "Profile", "Run", "apply"]
