"""Freeze: in some layers, visual tokens are seen but not updated."""

from typing import ClassVar, Literal

from halfv_core.interventions.layers import InLayers, layers_in_words


class Freeze(InLayers):
    """In these decoder layers, visual tokens are keys and values only; their hidden states pass through unchanged.

    A share or a number of them, `keep_ratio` or `tokens`, may go on being updated.

    Raises:
        PlanError: see `InLayers`.
    """

    _always_written: ClassVar[tuple[str, ...]] = ("kind", "layers")

    kind: Literal["freeze"] = "freeze"

    def describe(self) -> str:
        """The intervention in words."""
        return f"layers {layers_in_words(self.layers)}: freeze {self.whom()} (keys and values only)"
