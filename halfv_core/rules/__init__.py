"""Rules by which a When decides, in the run and for each prompt, that tokens are pruned; one file each.

What does not belong here: choosing the tokens (selectors).
"""

from halfv_core.rules.base import RULES, Rule, make_rule

__all__ = ["RULES", "Rule", "make_rule"]
