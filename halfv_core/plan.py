"""Plan: what to do with the visual tokens, layer by layer, as frozen data.

    Plan((Keep(layer=2, keep_ratio=0.25), Freeze(layers=range(15, 32))))

Every training-free method is a list of two kinds of intervention: keep a share of the visual tokens from some layer on,
or freeze them (visible as keys and values, but not updated) in some layers.
"""

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from halfv_core.errors import PlanError, first_fault
from halfv_core.selectors import make_selector

Option = bool | int | float | str

MAX_LAYER = 10_000
"""Deeper than any model; a plan lists its frozen layers one by one."""


class Intervention(BaseModel):
    """Base of the interventions: immutable, built by keyword, with a one-line error for a bad field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise PlanError(f"bad {type(self).__name__}: {first_fault(error)}") from None


class Keep(Intervention):
    """From the input of decoder layer `layer` on, keep a share or a number of the visual tokens and prune the rest.

    Raises:
        PlanError: layer below 1, ratio outside 0..1, a negative number of tokens, both or neither of them, or an
            unknown selector or option.
    """

    kind: Literal["keep"] = "keep"
    layer: int = Field(ge=1, le=MAX_LAYER, strict=True)
    """Decoder layer, counted from 0, whose input is pruned; at least 1, because models read the positions of new tokens
    off the cache of layer 0."""
    keep_ratio: float | None = Field(default=None, ge=0.0, le=1.0)
    """Share to keep of the row's original number of visual tokens; None if `tokens` is given."""
    tokens: int | None = Field(default=None, ge=0, strict=True)
    """Number of visual tokens to keep in each row, or all of a row that has fewer; None if `keep_ratio` is given. Many
    numbers cannot be said as a share, whose number of tokens is rounded down."""
    selector: str = "anchor_coverage"
    """Registered name of the selector that chooses the tokens."""
    options: dict[str, Option] = Field(default_factory=dict)
    """Options of the selector."""

    @model_validator(mode="after")
    def _is_one_rule(self) -> "Keep":
        if (self.keep_ratio is None) == (self.tokens is None):
            raise PlanError(
                "a Keep has a share or a number of tokens",
                got="neither" if self.tokens is None else f"keep_ratio={self.keep_ratio:g} and tokens={self.tokens}",
                expected="keep_ratio=0.25, or tokens=128",
            )
        make_selector(self.selector, self.options)
        return self

    @model_serializer(mode="wrap")
    def _without_the_other_rule(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Files and fingerprints of plans that have a share are as they were before `tokens` existed."""
        return {name: value for name, value in serialize(self).items() if value is not None}

    def describe(self) -> str:
        """The intervention in words."""
        settings = ", ".join(f"{name} {value}" for name, value in self.options.items())
        by = f" by {self.selector}" + (f" ({settings})" if settings else "")
        if not (self.keep_ratio or self.tokens):
            return f"layer {self.layer}: drop all visual tokens"
        kept = f"{self.tokens} visual tokens" if self.tokens else f"{self.keep_ratio:.3g} of the visual tokens"
        return f"layer {self.layer}: keep {kept}{by}"

    def count(self, visual: int) -> int:
        """Number of tokens to keep of `visual` original ones.

        It is max(1, floor(visual * keep_ratio)), or 0 for ratio 0; or `tokens`, and at most `visual`.
        """
        if self.tokens is not None:
            return min(self.tokens, visual)
        if not self.keep_ratio or visual == 0:
            return 0
        return max(1, math.floor(visual * self.keep_ratio))

    def share(self, visual: int) -> float:
        """The share of `visual` original tokens, 1 or more, that is asked for."""
        return self.keep_ratio if self.keep_ratio is not None else self.count(visual) / visual


class Freeze(Intervention):
    """In these decoder layers, visual tokens are keys and values only; their hidden states pass through unchanged.

    Raises:
        PlanError: no layers, or a negative one.
    """

    kind: Literal["freeze"] = "freeze"
    layers: tuple[Annotated[int, Field(ge=0, le=MAX_LAYER, strict=True)], ...] = Field(min_length=1)
    """Decoder layers, counted from 0, ascending; a range is accepted."""

    def describe(self) -> str:
        """The intervention in words."""
        first, last = self.layers[0], self.layers[-1]
        whole = len(self.layers) == last - first + 1
        which = f"{first}-{last}" if whole and last > first else ", ".join(map(str, self.layers))
        return f"layers {which}: freeze the visual tokens (keys and values only)"

    @field_validator("layers", mode="before")
    @classmethod
    def _from_iterable(cls, layers: object) -> object:
        if not isinstance(layers, range | list | tuple | set | frozenset):
            return layers
        if isinstance(layers, range):
            layers = layers[: MAX_LAYER + 1]  # refused by the type of the field if it is longer
        if not all(isinstance(layer, int) for layer in layers):
            return tuple(layers)  # refused by the type of the field, which names the element
        return tuple(sorted(set(layers)))


class Plan(BaseModel):
    """Interventions in the order of their layers; `Plan(())` does nothing.

    Raises:
        PlanError: two Keeps at one layer, a share or number that grows with depth, or a layer frozen twice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    interventions: tuple[Annotated[Keep | Freeze, Field(discriminator="kind")], ...] = ()

    def __init__(self, interventions: Iterable[Keep | Freeze] = (), /, **data: Any) -> None:
        data.setdefault("interventions", tuple(interventions))
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise PlanError(f"bad plan: {first_fault(error)}") from None

    @field_validator("interventions", mode="after")
    @classmethod
    def _in_order(cls, interventions: tuple[Keep | Freeze, ...]) -> tuple[Keep | Freeze, ...]:
        return tuple(sorted(interventions, key=_first_layer))

    @model_validator(mode="after")
    def _consistent(self) -> "Plan":
        for earlier, later in zip(self.keeps, self.keeps[1:], strict=False):
            if earlier.layer == later.layer:
                raise PlanError("two keeps at one layer", got=f"layer {later.layer} twice", remedy="merge them")
            if _grows(earlier.keep_ratio, later.keep_ratio) or _grows(earlier.tokens, later.tokens):
                amounts = [
                    keep.keep_ratio if keep.tokens is None else f"{keep.tokens} tokens" for keep in (earlier, later)
                ]
                raise PlanError(
                    "what is kept grows with depth, but tokens once dropped do not come back",
                    got=f"{amounts[0]} at layer {earlier.layer}, {amounts[1]} at layer {later.layer}",
                    expected="shares of the original tokens, or numbers of tokens, that do not grow",
                )
        frozen = [layer for item in self.interventions if isinstance(item, Freeze) for layer in item.layers]
        if len(set(frozen)) < len(frozen):
            raise PlanError("a layer is frozen twice", got=sorted(frozen), expected="each layer once")
        return self

    @property
    def keeps(self) -> tuple[Keep, ...]:
        """All Keeps, ascending by layer."""
        return tuple(item for item in self.interventions if isinstance(item, Keep))

    @property
    def frozen_layers(self) -> frozenset[int]:
        """All layers in which visual tokens are frozen."""
        return frozenset(layer for item in self.interventions if isinstance(item, Freeze) for layer in item.layers)

    @property
    def first_layer(self) -> int:
        """The first layer that the plan names; 0 for an empty plan."""
        return min([keep.layer for keep in self.keeps] + list(self.frozen_layers), default=0)

    @property
    def last_layer(self) -> int:
        """The deepest layer that the plan names; 0 for an empty plan."""
        return max([keep.layer for keep in self.keeps] + list(self.frozen_layers), default=0)

    def describe(self) -> list[str]:
        """The interventions in words, one line each; for an empty plan, a line that says so."""
        return [item.describe() for item in self.interventions] or ["leave every visual token alone"]

    def check_depth(self, layers: int) -> None:
        """Refuse a plan that was made for a deeper model.

        Raises:
            PlanError: the plan names a layer that a decoder of `layers` layers does not have.
        """
        if self.last_layer >= layers:
            raise PlanError(
                "the plan names a layer that the model does not have",
                got=f"layer {self.last_layer}",
                expected=f"0..{layers - 1}",
            )


def _grows(earlier: float | None, later: float | None) -> bool:
    return earlier is not None and later is not None and later > earlier


def _first_layer(item: Keep | Freeze) -> int:
    return item.layer if isinstance(item, Keep) else item.layers[0]
