"""Interventions in some layers, Freeze and Hide, have their layers in common."""

from typing import Any

from pydantic import Field, field_validator, model_validator

from halfv_core.errors import PlanError
from halfv_core.interventions.base import MAX_LAYER, LayerIndex, Selection, refuse_at_the_start
from halfv_core.selectors import ThresholdSelector, make_selector


class InLayers(Selection):
    """Something that happens to all visual tokens in some layers, or to all but a share or a number of them.

    These are chosen at the first of the layers, and anew wherever the layers have a gap.

    Raises:
        PlanError: as for a `Selection`; no layers, or a negative one; or layer 0 with a selector that reads the layer
            before it.
    """

    layers: tuple[LayerIndex, ...] = Field(min_length=1)
    """Decoder layers, counted from 0, ascending; a range is accepted."""
    keep_ratio: float | None = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the row's original number of visual tokens to which it does not happen."""

    @model_validator(mode="before")
    @classmethod
    def _none_by_default(cls, data: Any) -> Any:
        return without_ratio(data)

    @field_validator("layers", mode="before")
    @classmethod
    def _from_iterable(cls, layers: object) -> object:
        return ascending(layers)

    @model_validator(mode="after")
    def _can_stand_there(self) -> "InLayers":
        if self.layers[0] == 0:
            refuse_at_the_start(self)
        return self

    def whom(self) -> str:
        """To which tokens it happens, in words."""
        return "the visual tokens" if self.is_empty else f"all but {self.amount()}{self.by()}"


def runs_of(layers: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Ascending layers, divided into runs without gaps."""
    runs: list[tuple[int, ...]] = []
    for layer in layers:
        if runs and runs[-1][-1] + 1 == layer:
            runs[-1] = (*runs[-1], layer)
        else:
            runs.append((layer,))
    return runs


def layers_in_words(layers: tuple[int, ...]) -> str:
    first, last = layers[0], layers[-1]
    whole = len(layers) == last - first + 1
    return f"{first}-{last}" if whole and last > first else ", ".join(map(str, layers))


def without_ratio(data: Any) -> Any:
    """Let `tokens`, or a selector that counts for itself, stand without the default share."""
    if not isinstance(data, dict) or data.get("keep_ratio") is not None:
        return data
    name = data.get("selector")
    try:
        counts_itself = isinstance(name, str) and isinstance(
            make_selector(name, data.get("options") or {}), ThresholdSelector
        )
    except (PlanError, TypeError):
        return data  # refused by the validators of the fields
    return data | {"keep_ratio": None} if data.get("tokens") is not None or counts_itself else data


def ascending(layers: object) -> object:
    if not isinstance(layers, range | list | tuple | set | frozenset):
        return layers
    if isinstance(layers, range):
        layers = layers[: MAX_LAYER + 1]  # refused by the type of the field if it is longer
    if not all(isinstance(layer, int) for layer in layers):
        return tuple(layers)  # refused by the type of the field, which names the element
    return tuple(sorted(set(layers)))
