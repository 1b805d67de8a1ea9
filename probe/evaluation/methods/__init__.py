"""Published methods on one model at the same budgets of FLOPs, measured in one run.

What does not belong here: what a method is (halfv_core.methods).
"""

from probe.evaluation.methods.compare import compare_methods
from probe.evaluation.methods.records import MethodComparison, Refusal, Row

__all__ = ["MethodComparison", "Refusal", "Row", "compare_methods"]
