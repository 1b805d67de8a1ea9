"""Rules that choose which visual tokens are kept, one file each; importing this package registers them.

What does not belong here: reading scores from a model (runtime). A selector sees a context and returns indices. The
modules import torch where they compute, because plans, which are read without a model, check their selectors' options.
"""

from halfv_core.selectors import (
    anchor_coverage,
    attention,
    clse,
    dart,
    divprune,
    fitprune,
    hawk,
    hiprune,
    holov,
    priortr,
    pyramiddrop,
    random,
    sparsevlm,
    transprune,
    uniform,
    v2drop,
    visionzip,
    visipruner,
    vispruner,
)
from halfv_core.selectors.base import (
    SELECTORS,
    PromptSelector,
    SelectionContext,
    Selector,
    ThresholdSelector,
    make_selector,
)
from halfv_core.selectors.prompt import Prompt

__all__ = [
    "SELECTORS",
    "Prompt",
    "PromptSelector",
    "SelectionContext",
    "Selector",
    "ThresholdSelector",
    "anchor_coverage",
    "attention",
    "clse",
    "dart",
    "divprune",
    "fitprune",
    "hawk",
    "hiprune",
    "holov",
    "make_selector",
    "priortr",
    "pyramiddrop",
    "random",
    "sparsevlm",
    "transprune",
    "uniform",
    "v2drop",
    "visionzip",
    "visipruner",
    "vispruner",
]
