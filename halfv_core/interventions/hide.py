"""Hide: in some layers, visual tokens are absent, and they come back afterwards."""

from typing import ClassVar, Literal

from halfv_core.interventions.layers import InLayers, layers_in_words


class Hide(InLayers):
    """In these decoder layers, visual tokens are absent; after them, they come back as they were before.

    They are neither keys and values for other tokens nor updated, and the layers' caches do not hold them. A share or a
    number of them, `keep_ratio` or `tokens`, may stay.

    Raises:
        PlanError: see `InLayers`.
    """

    _always_written: ClassVar[tuple[str, ...]] = ("kind", "layers")

    kind: Literal["hide"] = "hide"

    def describe(self) -> str:
        """The intervention in words."""
        return f"layers {layers_in_words(self.layers)}: hide {self.whom()} (they come back afterwards)"
