"""Stages and saturation types in words, for the report."""

from typing import NamedTuple

from halfv_core.profile import Stages

TYPE_WORDS = {
    "layer_inactivity": "Stage III barely changes visual tokens, so they can be frozen there",
    "token_sparsity": "Stage III needs only a few visual tokens, so the rest can be dropped there",
    "none": "no treatment of Stage III was shown to be safe, so it is left alone",
}
"""What a saturation type means for the plan."""


class Span(NamedTuple):
    """The layers of one stage."""

    numeral: str
    name: str
    first: int
    last: int

    @property
    def layers(self) -> str:
        """As in "layers 2–20"."""
        return f"layer {self.first}" if self.first == self.last else f"layers {self.first}–{self.last}"


def stage_spans(stages: Stages, layers: int) -> list[Span]:
    """The stages that have at least one of the `layers` decoder layers, in order; Stage III may be missing."""
    second = stages.aggregation_start
    third = layers if stages.saturation_start is None else stages.saturation_start
    spans = [
        Span("I", "alignment", 0, second - 1),
        Span("II", "aggregation", second, third - 1),
        Span("III", "saturation", third, layers - 1),
    ]
    return [span for span in spans if span.first <= span.last]
