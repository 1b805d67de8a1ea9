"""The interventions of a plan: what happens to visual tokens at a decoder layer, or in some layers.

In each layer a visual token may be *attended* (a key and value for other tokens), *updated* (a query, which the layer's
MLP changes) and, if it is neither, *carried* (it comes back in a later layer).

    Keep     from a layer on, the tokens that are not kept are none of these
    Freeze   in some layers, tokens are attended, not updated
    Hide     in some layers, tokens are carried
    When     prune like Keep, at the first layer where a rule holds for a prompt
"""

import math
from typing import Annotated, Any, ClassVar, Literal

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
from halfv_core.merges import make_merge
from halfv_core.rules import make_rule
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
                    got=self._amount(),
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

    def _amount(self) -> str:
        """How many tokens, in words."""
        if self.counts_itself:
            return "those of the visual tokens that pass"
        if self.tokens is not None:
            return f"{self.tokens} visual tokens"
        return f"{self.keep_ratio:.3g} of the visual tokens"

    def _by(self) -> str:
        """By which rule, in words."""
        return f" by {self.selector}{_settings(self.options)}"


class Keep(Selection):
    """From the input of decoder layer `layer` on, keep some of the visual tokens and prune the rest.

    Raises:
        PlanError: as for a `Selection`; a layer below 0, or layer 0 with a selector that reads the layer before it; an
            unknown merge or option.
    """

    _always_written: ClassVar[tuple[str, ...]] = ("kind", "layer", "keep_ratio", "tokens", "selector", "options")

    kind: Literal["keep"] = "keep"
    layer: LayerIndex
    """Decoder layer, counted from 0, whose input is pruned; 0 prunes before the decoder."""
    positions: Literal["kept", "renumbered"] = "kept"
    """Whether the remaining tokens keep their positions in the prompt, or are counted anew without gaps, in this layer
    and later ones, the tokens that are generated included."""
    merge: str | None = None
    """Registered name of the rule that puts what pruned tokens hold into tokens that stay; None: it is lost."""
    merge_options: Options = Field(default_factory=dict)
    """Options of the merge."""
    cache: Literal["onward", "everywhere"] = "onward"
    """Whether pruned tokens are missing from the KV cache of this layer and later ones, or from all layers' caches once
    the prompt has gone through the decoder."""

    @model_validator(mode="after")
    def _can_stand_there(self) -> "Keep":
        if self.merge is not None:
            make_merge(self.merge, self.merge_options)
        elif self.merge_options:
            raise PlanError("options of a merge without a merge", got=self.merge_options, remedy="give merge=")
        if self.layer == 0:
            _refuse_at_the_start(self)
        return self

    def remaining(self, visual: int, now: int) -> int:
        """Number of visual tokens after this Keep.

        Args:
            visual: original ones.
            now: those that are left before this Keep.
        """
        chosen = min(self.count(visual), now)
        if self.merge is None or not 0 < chosen < now:
            return chosen
        return chosen + make_merge(self.merge, self.merge_options).extra(now, chosen)

    def reads(self) -> frozenset[Reading]:
        """What has to be at hand where the tokens are chosen."""
        found = super().reads()
        if self.merge is not None and not self.is_empty:
            found |= make_merge(self.merge, self.merge_options).reads()
        return found

    def tower_layers(self) -> frozenset[int]:
        """Layers of the vision tower that are looked at, perhaps counted from the end."""
        found = super().tower_layers()
        if self.merge is not None and not self.is_empty:
            found |= make_merge(self.merge, self.merge_options).tower_layers()
        return found

    def describe(self) -> str:
        """The intervention in words."""
        if self.is_empty:
            what = "drop all visual tokens"
        else:
            what = f"keep {self._amount()}{self._by()}"
            if self.merge is not None:
                what += f", merge the others by {self.merge}{_settings(self.merge_options)}"
        if self.positions == "renumbered":
            what += ", number positions anew"
        if self.cache == "everywhere":
            what += ", in all layers' caches"
        return f"layer {self.layer}: {what}"


class Freeze(Selection):
    """In these decoder layers, visual tokens are keys and values only; their hidden states pass through unchanged.

    A share or a number of them may go on being updated. These are chosen at the first of the layers, and anew wherever
    the layers have a gap.

    Raises:
        PlanError: as for a `Selection`; no layers, or a negative one.
    """

    _always_written: ClassVar[tuple[str, ...]] = ("kind", "layers")

    kind: Literal["freeze"] = "freeze"
    layers: tuple[LayerIndex, ...] = Field(min_length=1)
    """Decoder layers, counted from 0, ascending; a range is accepted."""
    keep_ratio: float | None = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the row's original number of visual tokens that are updated all the same."""

    def describe(self) -> str:
        """The intervention in words."""
        which = "the visual tokens" if self.is_empty else f"all but {self._amount()}{self._by()}"
        return f"layers {_range_in_words(self.layers)}: freeze {which} (keys and values only)"

    @model_validator(mode="before")
    @classmethod
    def _none_by_default(cls, data: Any) -> Any:
        return _without_ratio(data)

    @field_validator("layers", mode="before")
    @classmethod
    def _from_iterable(cls, layers: object) -> object:
        return _ascending(layers)

    @model_validator(mode="after")
    def _can_stand_there(self) -> "Freeze":
        if self.layers[0] == 0:
            _refuse_at_the_start(self)
        return self


class Hide(Selection):
    """In these decoder layers, visual tokens are absent; after them, they come back as they were before.

    They are neither keys and values for other tokens nor updated, and the layers' caches do not hold them. A share or a
    number of them may stay. These are chosen at the first of the layers, and anew wherever the layers have a gap.

    Raises:
        PlanError: as for a `Selection`; no layers, or a negative one.
    """

    _always_written: ClassVar[tuple[str, ...]] = ("kind", "layers")

    kind: Literal["hide"] = "hide"
    layers: tuple[LayerIndex, ...] = Field(min_length=1)
    """Decoder layers, counted from 0, ascending; a range is accepted."""
    keep_ratio: float | None = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the row's original number of visual tokens that stay."""

    def describe(self) -> str:
        """The intervention in words."""
        which = "the visual tokens" if self.is_empty else f"all but {self._amount()}{self._by()}"
        return f"layers {_range_in_words(self.layers)}: hide {which} (they come back afterwards)"

    @model_validator(mode="before")
    @classmethod
    def _none_by_default(cls, data: Any) -> Any:
        return _without_ratio(data)

    @field_validator("layers", mode="before")
    @classmethod
    def _from_iterable(cls, layers: object) -> object:
        return _ascending(layers)

    @model_validator(mode="after")
    def _can_stand_there(self) -> "Hide":
        if self.layers[0] == 0:
            _refuse_at_the_start(self)
        return self


class When(Intervention):
    """Prune like a Keep, in each prompt at the first layer where a rule holds for it, which is found out in the run.

    The rule is asked about each layer from the one before `from_layer` on, and if it holds, tokens are pruned at the
    input of the next. Of several Whens in a plan, each waits for the one before it. Prompts without visual tokens, and
    the other prompts of a batch, are not touched.

    Raises:
        PlanError: a layer below 1, or an unknown rule or option.
    """

    _always_written: ClassVar[tuple[str, ...]] = ("kind", "rule", "from_layer", "then")

    kind: Literal["when"] = "when"
    rule: str
    """Registered name of the rule."""
    options: Options = Field(default_factory=dict)
    """Options of the rule."""
    from_layer: Annotated[int, Field(ge=1, le=MAX_LAYER, strict=True)]
    """First decoder layer, counted from 0, at whose input tokens may be pruned."""
    then: Selection
    """The visual tokens that are kept when the rule holds."""

    @model_validator(mode="after")
    def _has_a_rule(self) -> "When":
        make_rule(self.rule, self.options)
        return self

    def reads(self) -> frozenset[Reading]:
        """What has to be at hand where the rule is asked."""
        return self.then.reads() | make_rule(self.rule, self.options).reads()

    def tower_layers(self) -> frozenset[int]:
        """Layers of the vision tower that are looked at."""
        return self.then.tower_layers()

    def describe(self) -> str:
        """The intervention in words."""
        then = "drop all visual tokens" if self.then.is_empty else f"keep {self.then._amount()}{self.then._by()}"
        return f"from layer {self.from_layer}, once {self.rule}{_settings(self.options)} holds: {then}"


def runs_of(layers: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Ascending layers, divided into runs without gaps."""
    runs: list[tuple[int, ...]] = []
    for layer in layers:
        if runs and runs[-1][-1] + 1 == layer:
            runs[-1] = (*runs[-1], layer)
        else:
            runs.append((layer,))
    return runs


def _refuse_at_the_start(item: Keep | Freeze | Hide) -> None:
    """Refuse a selector that reads the layer before layer 0."""
    if item.reads() & {"previous", "transitions"}:
        raise PlanError(
            "there is no layer before layer 0, where tokens could be scored",
            got=f"{item.describe()}",
            expected="layer 1 or deeper, or a selector that reads the own layer, the embeddings or the vision tower",
        )


def _settings(options: Options) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in options.items())
    return f" ({settings})" if settings else ""


def _range_in_words(layers: tuple[int, ...]) -> str:
    first, last = layers[0], layers[-1]
    whole = len(layers) == last - first + 1
    return f"{first}-{last}" if whole and last > first else ", ".join(map(str, layers))


def _without_ratio(data: Any) -> Any:
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


def _ascending(layers: object) -> object:
    if not isinstance(layers, range | list | tuple | set | frozenset):
        return layers
    if isinstance(layers, range):
        layers = layers[: MAX_LAYER + 1]  # refused by the type of the field if it is longer
    if not all(isinstance(layer, int) for layer in layers):
        return tuple(layers)  # refused by the type of the field, which names the element
    return tuple(sorted(set(layers)))
