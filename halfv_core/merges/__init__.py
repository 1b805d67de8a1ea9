"""Rules that put what pruned visual tokens hold into tokens that stay, one file each; importing this registers them.

What does not belong here: choosing tokens (selectors).
"""

from halfv_core.merges import aim, apet, framefusion, prumerge, sparsevlm, visiondrop, visionzip
from halfv_core.merges.base import MERGES, Merge, Merged, make_merge

__all__ = [
    "MERGES",
    "Merge",
    "Merged",
    "aim",
    "apet",
    "framefusion",
    "make_merge",
    "prumerge",
    "sparsevlm",
    "visiondrop",
    "visionzip",
]
