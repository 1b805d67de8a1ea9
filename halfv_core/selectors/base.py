"""What a selector is: frozen settings and one method, from the visual tokens of one prompt to the indices that stay."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import TypeAdapter, ValidationError

from halfv_core.errors import PlanError, first_fault
from halfv_core.registry import Registry

if TYPE_CHECKING:
    import torch

Scoring = Literal["attention", "release"]


class SelectionContext(Protocol):
    """What a selector may look at: the V visual tokens of one prompt that are alive before the layer."""

    @property
    def visual_count(self) -> int:
        """V."""

    @property
    def device(self) -> "torch.device":
        """Where the answer belongs."""

    def attention_scores(self, scoring: Scoring, rope: bool) -> "torch.Tensor":
        """(V,) float32: how much the last prompt token attends to each visual token in the layer before."""

    def normed_hidden(self) -> "torch.Tensor":
        """(V, D): the layer's input after the model's final norm."""


@dataclass(frozen=True)
class Selector(ABC):
    """A rule that chooses visual tokens. Subclasses are frozen dataclasses whose fields are the options of a Keep."""

    @abstractmethod
    def select(self, context: SelectionContext, count: int) -> "torch.Tensor":
        """Choose `count` of the V tokens, 1 <= count < V.

        Returns:
            (count,) LongTensor on the context's device, distinct indices into the V tokens; the anchors first, those
            and the others in any order.
        """

    def anchors(self, count: int) -> int:
        """How many of `count` chosen tokens attention chose; the others are there for another reason."""
        return 0


SELECTORS: Registry[type[Selector]] = Registry("selector", PlanError)


def make_selector(name: str, options: Mapping[str, bool | int | float | str]) -> Selector:
    """Build a registered selector.

    Raises:
        PlanError: unknown name, unknown option, or a value that the selector refuses.
    """
    kind = SELECTORS[name]
    known = [field.name for field in fields(kind)]
    for option in options:
        if option not in known:
            raise PlanError(f"selector '{name}' has no option '{option}'", expected=", ".join(known) or "no options")
    try:
        return _adapter(kind).validate_python(dict(options))
    except ValidationError as error:
        raise PlanError(f"selector '{name}', {first_fault(error)}") from None


@cache
def _adapter(kind: type[Selector]) -> TypeAdapter[Selector]:
    return TypeAdapter(kind)
