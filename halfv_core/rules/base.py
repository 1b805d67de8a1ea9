"""What a rule is: immutable options and one question about a layer that a prompt has just gone through."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from halfv_core.errors import PlanError, first_fault
from halfv_core.registry import Registry
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Rule(ABC):
    """A question about a layer. Subclasses are frozen dataclasses; their fields are the options of a When."""

    @abstractmethod
    def holds(self, prompt: Prompt) -> "torch.Tensor":
        """() bool: whether the rule holds in the layer that the prompt has just gone through, its `previous` one."""

    def times(self) -> int:
        """In how many layers it has to hold, one after the other or not, before tokens are pruned."""
        return 1


RULES: Registry[type[Rule]] = Registry("rule", PlanError)


def make_rule(name: str, options: Mapping[str, bool | int | float | str]) -> Rule:
    """Build a registered rule.

    Raises:
        PlanError: unknown name, unknown option, or a value that the rule does not accept.
    """
    kind = RULES[name]
    known = [field.name for field in fields(kind)]
    for option in options:
        if option not in known:
            raise PlanError(f"rule '{name}' has no option '{option}'", expected=", ".join(known) or "no options")
    try:
        return TypeAdapter(kind).validate_python(dict(options))
    except ValidationError as error:
        raise PlanError(f"rule '{name}', {first_fault(error)}") from None
