"""Keep: from a layer on, some of the visual tokens go on and the others are pruned."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from halfv_core.errors import PlanError
from halfv_core.interventions.base import LayerIndex, Options, Selection, refuse_at_the_start, settings_in_words
from halfv_core.merges import make_merge
from halfv_core.selectors.base import Reading


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
            refuse_at_the_start(self)
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
            what = f"keep {self.amount()}{self.by()}"
            if self.merge is not None:
                what += f", merge the others by {self.merge}{settings_in_words(self.merge_options)}"
        if self.positions == "renumbered":
            what += ", number positions anew"
        if self.cache == "everywhere":
            what += ", in all layers' caches"
        return f"layer {self.layer}: {what}"
