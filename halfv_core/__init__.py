"""The runtime of halfv-probe: prune and freeze the visual tokens of an unmodified Hugging Face model, by a plan.

from halfv_core import Profile, apply
with apply(model, Profile.load("profile.json")):
    model.generate(**inputs)

Plans and profiles are plain data: torch is imported when a model enters, not before.
"""

from typing import TYPE_CHECKING

from halfv_core.errors import HalfVError
from halfv_core.lazy import lazy_names
from halfv_core.plan import Freeze, Hide, Keep, Plan, Selection, When
from halfv_core.profile import Profile

if TYPE_CHECKING:
    from halfv_core.families import Family
    from halfv_core.runtime import Run, apply
else:
    __getattr__, __dir__ = lazy_names(
        __name__, {"Family": "halfv_core.families", "Run": "halfv_core.runtime", "apply": "halfv_core.runtime"}
    )

__all__ = ["Family", "Freeze", "HalfVError", "Hide", "Keep", "Plan", "Profile", "Run", "Selection", "When", "apply"]
