"""What interventions have in common: immutable data, how many tokens are chosen by which rule, and in which layers."""

import math
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from halfv_core.errors import PlanError, first_fault
from halfv_core.selectors import ThresholdSelector, make_selector
from halfv_core.selectors.base import Reading

Option = bool | int | float | str
Options = dict[str, Option]

MAX_LAYER = 10_000
"""Deeper than any model; a plan lists its frozen layers one by one."""

LayerIndex = Annotated[int, Field(ge=0, le=MAX_LAYER, strict=True)]


class Intervention(BaseModel):
    """Base of the interventions: immutable, built by keyword, with a one-line error for a bad field.

    Of fields that were added later, those that have their default values are not written to files, so that files and
    fingerprints of older plans stay as they were.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    _always_written: ClassVar[tuple[str, ...]] = ("kind",)

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise PlanError(f"bad {type(self).__name__}: {first_fault(error)}") from None

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values, fields = serialize(self), type(self).model_fields
        others = [
            name
            for name, field in fields.items()
            if name not in self._always_written and getattr(self, name) != field.get_default(call_default_factory=True)
        ]
        return {name: values[name] for name in (*self._always_written, *others) if getattr(self, name) is not None}


class Selection(Intervention):
    """Some of a prompt's visual tokens: how many, and by which rule they are chosen.

    A selector that counts for itself, by a threshold, takes neither a share nor a number; all others take one of them.

    Raises:
        PlanError: ratio outside 0..1, a negative number of tokens, both or neither of them, or an unknown selector or
            option.
    """

    _always_written: ClassVar[tuple[str, ...]] = ("keep_ratio", "tokens", "selector", "options")

    keep_ratio: float | None = Field(default=None, ge=0.0, le=1.0)
    """Share of the row's original number of visual tokens; None if `tokens` is given."""
    tokens: int | None = Field(default=None, ge=0, strict=True)
    """Number of visual tokens in each row, or all of a row that has fewer; None if `keep_ratio` is given. Many numbers
    cannot be said as a share, whose number of tokens is rounded down."""
    selector: str = "anchor_coverage"
    """Registered name of the selector that chooses the tokens."""
    options: Options = Field(default_factory=dict)
    """Options of the selector."""

    @model_validator(mode="after")
    def _is_one_rule(self) -> "Selection":
        selector = make_selector(self.selector, self.options)
        given = [self.keep_ratio, self.tokens].count(None)
        if isinstance(selector, ThresholdSelector):
            if given < 2:
                raise PlanError(
                    f"selector '{self.selector}' decides how many tokens it keeps",
                    got=self.amount(),
                    expected="neither keep_ratio nor tokens",
                )
        elif given != 1:
            raise PlanError(
                f"a {type(self).__name__} has a share or a number of tokens",
                got="neither" if given == 2 else f"keep_ratio={self.keep_ratio:g} and tokens={self.tokens}",
                expected="keep_ratio=0.25, or tokens=128",
            )
        return self

    @property
    def counts_itself(self) -> bool:
        """Whether the selector decides how many tokens there are, so that their number is known only in a run."""
        return self.keep_ratio is None and self.tokens is None

    @property
    def is_empty(self) -> bool:
        """Whether no visual token is chosen, whatever the prompt."""
        return not self.counts_itself and not (self.keep_ratio or self.tokens)

    def count(self, visual: int) -> int:
        """Number of tokens to choose of `visual` original ones.

        It is max(1, floor(visual * keep_ratio)), or 0 for ratio 0; or `tokens`, and at most `visual`. All of them for a
        selector that counts for itself, which keeps at most so many.
        """
        if self.counts_itself:
            return visual
        if self.tokens is not None:
            return min(self.tokens, visual)
        if not self.keep_ratio or visual == 0:
            return 0
        return max(1, math.floor(visual * self.keep_ratio))

    def share(self, visual: int) -> float:
        """The share of `visual` original tokens, 1 or more, that is asked for."""
        return self.keep_ratio if self.keep_ratio is not None else self.count(visual) / visual

    def reads(self) -> frozenset[Reading]:
        """What has to be at hand where the tokens are chosen."""
        return frozenset() if self.is_empty else make_selector(self.selector, self.options).reads()

    def tower_layers(self) -> frozenset[int]:
        """Layers of the vision tower that are looked at, perhaps counted from the end."""
        return frozenset() if self.is_empty else make_selector(self.selector, self.options).tower_layers()

    def describe(self) -> str:
        """The tokens in words."""
        return f"{self.amount()}{self.by()}"

    def amount(self) -> str:
        """How many tokens, in words."""
        if self.counts_itself:
            return "those of the visual tokens that pass"
        if self.tokens is not None:
            return f"{self.tokens} visual tokens"
        return f"{self.keep_ratio:.3g} of the visual tokens"

    def by(self) -> str:
        """By which rule, in words."""
        return f" by {self.selector}{settings_in_words(self.options)}"


def settings_in_words(options: Options) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in options.items())
    return f" ({settings})" if settings else ""


def refuse_at_the_start(item: Selection) -> None:
    """Refuse a selector that reads the layer before layer 0."""
    if item.reads() & {"previous", "transitions"}:
        raise PlanError(
            "there is no layer before layer 0, where tokens could be scored",
            got=f"{item.describe()}",
            expected="layer 1 or deeper, or a selector that reads the own layer, the embeddings or the vision tower",
        )
