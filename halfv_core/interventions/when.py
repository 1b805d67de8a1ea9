"""When: prune at the first layer where a rule holds for a prompt, which is found out in the run."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from halfv_core.interventions.base import MAX_LAYER, Intervention, Options, Selection, settings_in_words
from halfv_core.rules import make_rule
from halfv_core.selectors.base import Reading


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
        then = "drop all visual tokens" if self.then.is_empty else f"keep {self.then.amount()}{self.then.by()}"
        return f"from layer {self.from_layer}, once {self.rule}{settings_in_words(self.options)} holds: {then}"
