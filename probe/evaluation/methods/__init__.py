"""Published methods on one model at the same budgets of FLOPs, measured in one run.

What does not belong here: what a method is (halfv_core.methods).
"""

from typing import TYPE_CHECKING

from halfv_core.lazy import lazy_names
from probe.evaluation.methods.records import MethodComparison, Refusal, Row

if TYPE_CHECKING:
    from probe.evaluation.methods.compare import compare_methods
else:
    __getattr__, __dir__ = lazy_names(__name__, {"compare_methods": "probe.evaluation.methods.compare"})

__all__ = ["MethodComparison", "Refusal", "Row", "compare_methods"]
