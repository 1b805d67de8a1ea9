"""Plan: what to do with the visual tokens, layer by layer, as frozen data.

    Plan((Keep(layer=2, keep_ratio=0.25), Freeze(layers=range(15, 32))))

Every training-free method is a list of interventions; see `halfv_core.interventions` for the kinds.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from halfv_core.errors import PlanError, first_fault
from halfv_core.files import read_text, write_atomically
from halfv_core.interventions import MAX_LAYER, Freeze, Hide, Intervention, Keep, Option, Selection, When, runs_of
from halfv_core.selectors.base import Reading

__all__ = [
    "MAX_LAYER",
    "AnyIntervention",
    "Freeze",
    "Hide",
    "Intervention",
    "Keep",
    "Option",
    "Plan",
    "Selection",
    "When",
]

AnyIntervention = Keep | Freeze | Hide | When


class Plan(BaseModel):
    """Interventions in the order of their layers; `Plan(())` does nothing.

    Raises:
        PlanError: two Keeps at one layer, a share or number that grows with depth, a layer that is frozen or hidden
            twice, or tokens that would have to be chosen where they are not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    interventions: tuple[Annotated[AnyIntervention, Field(discriminator="kind")], ...] = ()

    def __init__(self, interventions: Iterable[AnyIntervention] = (), /, **data: Any) -> None:
        data.setdefault("interventions", tuple(interventions))
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise PlanError(f"bad plan: {first_fault(error)}") from None

    @field_validator("interventions", mode="after")
    @classmethod
    def _in_order(cls, interventions: tuple[AnyIntervention, ...]) -> tuple[AnyIntervention, ...]:
        return tuple(sorted(interventions, key=_first_layer))

    @model_validator(mode="after")
    def _consistent(self) -> "Plan":
        _check_keeps(self.keeps)
        _check_once("frozen", self.freezes)
        _check_once("hidden", self.hides)
        both = self.frozen_layers & self.hidden_layers
        if both:
            raise PlanError(
                "a layer is both frozen and hidden", got=sorted(both), expected="one of them for each layer"
            )
        _check_inside(self)
        _check_readings(self)
        return self

    def save(self, path: str | Path) -> None:
        """Write the plan as JSON, atomically."""
        write_atomically(Path(path), self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Plan":
        """Read a plan that `save` has written.

        Raises:
            PlanError: the file cannot be read, or holds no plan.
        """
        try:
            return cls.model_validate_json(read_text(Path(path)))
        except (OSError, UnicodeDecodeError) as error:
            raise PlanError(f"cannot read plan {path}: {getattr(error, 'strerror', None) or error}") from None
        except ValidationError as error:
            raise PlanError(f"{path} holds no plan: {first_fault(error)}", remedy="write it with Plan.save") from None
        except PlanError as error:
            raise PlanError(f"{path} holds no plan: {error}") from None

    @property
    def keeps(self) -> tuple[Keep, ...]:
        """All Keeps, ascending by layer."""
        return tuple(item for item in self.interventions if isinstance(item, Keep))

    @property
    def freezes(self) -> tuple[Freeze, ...]:
        """All Freezes, ascending by first layer."""
        return tuple(item for item in self.interventions if isinstance(item, Freeze))

    @property
    def hides(self) -> tuple[Hide, ...]:
        """All Hides, ascending by first layer."""
        return tuple(item for item in self.interventions if isinstance(item, Hide))

    @property
    def whens(self) -> tuple[When, ...]:
        """All Whens, ascending by first layer: the order in which they wait for each other."""
        return tuple(item for item in self.interventions if isinstance(item, When))

    @property
    def frozen_layers(self) -> frozenset[int]:
        """All layers in which visual tokens are frozen."""
        return frozenset(layer for item in self.freezes for layer in item.layers)

    @property
    def hidden_layers(self) -> frozenset[int]:
        """All layers in which visual tokens are hidden."""
        return frozenset(layer for item in self.hides for layer in item.layers)

    @property
    def first_layer(self) -> int:
        """The first layer that the plan names; 0 for an empty plan."""
        return min(map(_first_layer, self.interventions), default=0)

    @property
    def last_layer(self) -> int:
        """The deepest layer that the plan names; 0 for an empty plan."""
        return max(map(_last_layer, self.interventions), default=0)

    @property
    def is_known_beforehand(self) -> bool:
        """Whether the numbers of tokens, and with them the cost, follow from the prompt's length alone.

        They do not if a rule or a threshold decides, or if tokens that a Hide let stay leave all caches later.
        """
        everywhere = max((keep.layer for keep in self.keeps if keep.cache == "everywhere"), default=0)
        thinned = any(not hide.is_empty and hide.layers[0] < everywhere for hide in self.hides)
        counted = any(isinstance(item, Selection) and item.counts_itself for item in self.interventions)
        return not (self.whens or counted or thinned)

    def reads(self) -> frozenset[Reading]:
        """What has to be at hand where tokens are chosen."""
        return frozenset().union(*(item.reads() for item in self.interventions))

    def tower_layers(self) -> frozenset[int]:
        """Layers of the vision tower that are looked at, perhaps counted from the end."""
        return frozenset().union(*(item.tower_layers() for item in self.interventions))

    def describe(self) -> list[str]:
        """The interventions in words, one line each; for an empty plan, a line that says so."""
        first = next(iter(self.whens), None)
        waits = [isinstance(item, When) and item is not first for item in self.interventions]
        lines = [
            f"after that, {item.describe()}" if is_waiting else item.describe()
            for item, is_waiting in zip(self.interventions, waits, strict=True)
        ]
        return lines or ["leave every visual token alone"]

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


def _check_keeps(keeps: Sequence[Keep]) -> None:
    for earlier, later in zip(keeps, keeps[1:], strict=False):
        if earlier.layer == later.layer:
            raise PlanError("two keeps at one layer", got=f"layer {later.layer} twice", remedy="merge them")
        if _grows(earlier.keep_ratio, later.keep_ratio) or _grows(earlier.tokens, later.tokens):
            amounts = [keep.keep_ratio if keep.tokens is None else f"{keep.tokens} tokens" for keep in (earlier, later)]
            raise PlanError(
                "what is kept grows with depth, but tokens once dropped do not come back",
                got=f"{amounts[0]} at layer {earlier.layer}, {amounts[1]} at layer {later.layer}",
                expected="shares of the original tokens, or numbers of tokens, that do not grow",
                remedy="use a Hide for tokens that come back",
            )


def _check_once(what: str, items: Sequence[Freeze | Hide]) -> None:
    layers = [layer for item in items for layer in item.layers]
    if len(set(layers)) < len(layers):
        raise PlanError(f"a layer is {what} twice", got=sorted(layers), expected="each layer once")


def _check_inside(plan: Plan) -> None:
    """Refuse to prune between layers for which tokens have been chosen, or are absent, already."""
    items: tuple[Freeze | Hide, ...] = (*plan.freezes, *plan.hides)
    chosen = [item for item in items if not item.is_empty]
    inside = {layer for item in chosen for run in runs_of(item.layers) for layer in run[1:]}
    hidden = {layer for item in plan.hides for run in runs_of(item.layers) for layer in run[1:]}
    for keep in plan.keeps:
        if keep.layer in inside | hidden:
            raise PlanError(
                "a Keep stands inside layers that are hidden or partly frozen",
                got=f"layer {keep.layer}",
                expected="a Keep before, at the first, or after the last of these layers",
            )
    for when in plan.whens:
        if any(layer >= when.from_layer for layer in inside):
            raise PlanError(
                "a When may prune inside layers in which some tokens are hidden or frozen and others not",
                got=when.describe(),
                expected=f"from_layer={max(inside) + 1} or later",
            )


def _check_readings(plan: Plan) -> None:
    """Refuse a choice by a layer in which the tokens are not."""
    places: list[tuple[int, Keep | Freeze | Hide]] = [(keep.layer, keep) for keep in plan.keeps]
    items: tuple[Freeze | Hide, ...] = (*plan.freezes, *plan.hides)
    places += [(run[0], item) for item in items for run in runs_of(item.layers)]
    for layer, item in places:
        if layer - 1 in plan.hidden_layers and "previous" in item.reads():
            raise PlanError(
                f"{item.selector} scores tokens in layer {layer - 1}, where they are hidden",
                got=item.describe(),
                expected="another layer, or a selector that does not read the layer before",
            )


def _grows(earlier: float | None, later: float | None) -> bool:
    return earlier is not None and later is not None and later > earlier


def _first_layer(item: AnyIntervention) -> int:
    if isinstance(item, Keep):
        return item.layer
    return item.from_layer if isinstance(item, When) else item.layers[0]


def _last_layer(item: AnyIntervention) -> int:
    if isinstance(item, Keep):
        return item.layer
    return item.from_layer if isinstance(item, When) else item.layers[-1]
