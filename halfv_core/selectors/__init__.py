"""Rules that choose which visual tokens are kept, one file each; importing this package registers them."""

from halfv_core.selectors import anchor_coverage, attention, random, uniform
from halfv_core.selectors.base import SELECTORS, SelectionContext, Selector, make_selector

__all__ = [
    "SELECTORS",
    "SelectionContext",
    "Selector",
    "anchor_coverage",
    "attention",
    "make_selector",
    "random",
    "uniform",
]
