"""A latency table of known milliseconds, whose measurements are exactly what they add up to."""

from typing import Any

from halfv_core import Plan
from halfv_core.cost import tokens_by_layer
from halfv_core.latency import LatencyTable, MeasuredPrefill, Setting, amounts, choices_of
from probe.bench.latency_table import SELECTORS, plans_to_measure
from tests.tiny import LAYERS

VISUAL, TEXT = 600, 30
BENDS = (78, 157, 315)
"""An eighth, a quarter and half of the longest prompt."""
SETTING = Setting(device="a processor", dtype="float32", kernel="sdpa", threads=1)
COEFFICIENTS = {
    "prompt": 2.0,
    "prompt tokens": 0.001,
    "under a plan": 0.5,
    "queries": 0.002,
    "queries above 78": 0.0,
    "queries above 157": 0.003,
    "queries above 315": 0.0,
    "queries x keys": 4e-6,
    "frozen layers": 0.25,
    "frozen keys": 0.0005,
    "frozen queries x keys": 5e-6,
    "choices by uniform": 0.125,
    "candidates of uniform": 0.0,
    "candidates of uniform, squared": 0.0,
    "choices by anchor_coverage": 1.0,
    "candidates of anchor_coverage": 0.001,
    "candidates of anchor_coverage, squared": 2e-6,
    "choices by attention": 0.5,
    "candidates of attention": 0.002,
    "candidates of attention, squared": 0.0,
}


def milliseconds(plan: Plan, visual: int = VISUAL, text: int = TEXT) -> float:
    """What the prefill takes by these numbers, which `halfv_core.latency` has to add up in the same way."""
    rows, choices = tokens_by_layer(plan, LAYERS, visual, text), choices_of(plan, LAYERS, visual)
    return sum(COEFFICIENTS[name] * found for name, found in amounts(rows, choices, BENDS, SELECTORS).items())


def known_prefills() -> tuple[MeasuredPrefill, ...]:
    """The prefills that a table is made of, without noise."""
    return tuple(
        MeasuredPrefill(
            plan=plan, visual_tokens=visual, text_tokens=text, milliseconds=(milliseconds(plan, visual, text),) * 3
        )
        for visual, text in ((VISUAL, TEXT), (VISUAL // 2, 2 * TEXT))
        for plan in plans_to_measure(LAYERS, visual)
    )


def known_table(**changes: Any) -> LatencyTable:
    """A table of a decoder of `LAYERS` layers."""
    values: dict[str, Any] = {
        "model": "tiny",
        "model_type": "qwen2_5_vl",
        "config_fingerprint": "0" * 64,
        "layers": LAYERS,
        "setting": SETTING,
        "clock": "cpu",
        "prefills": known_prefills(),
        "bends": BENDS,
        "selectors": SELECTORS,
        "coefficients": COEFFICIENTS,
        "error": 0.0,
        "worst_error": 0.0,
        "versions": {"torch": "2.13.0"},
        "created": "2026-11-30T12:00:00+00:00",
        "seconds": 1.5,
    }
    return LatencyTable(**values | changes)
