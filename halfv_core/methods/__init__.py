"""Published training-free methods, one file each: functions from a model's shape and a budget to a Plan.

What does not belong here: running plans (runtime), choosing tokens (selectors). A method is data for these two.
"""

from halfv_core.methods import random, uniform
from halfv_core.methods.base import METHODS, Measured, Method, Target, plan_at

__all__ = ["METHODS", "Measured", "Method", "Target", "plan_at", "random", "uniform"]
