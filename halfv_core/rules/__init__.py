"""Rules that decide while a prompt runs whether it is time to act, one file each; importing this registers them.

What does not belong here: choosing tokens (selectors), and what is done when a rule holds (plan).
"""

from halfv_core.rules import contribution, exhausted, settled
from halfv_core.rules.base import RULES, Rule, make_rule

__all__ = ["RULES", "Rule", "contribution", "exhausted", "make_rule", "settled"]
