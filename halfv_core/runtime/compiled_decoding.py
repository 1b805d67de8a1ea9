"""Compiled decoding: a step for one new token, where generate() wants it compiled.

transformers would compile the model's call. Under a plan that is of no use, because what is decided between layers is
Python. For one new token nothing is decided any more: only the masks of pruned layers differ, and they are made before
the step. So the core is compiled with the masks among its keyword arguments, which it hands on to its layers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers.generation.configuration_utils import CompileConfig

from halfv_core.families.base import Parts
from halfv_core.placement import device_of
from halfv_core.plan import Plan
from halfv_core.runtime.patching import Forward
from halfv_core.runtime.sources import observed_layers
from halfv_core.runtime.static_cache import is_static

_MASKS = "halfv_masks"


class CompiledSteps:
    """Compiles the core as generate() would compile the model, and runs steps with it."""

    def __init__(self, parts: Parts, plan: Plan) -> None:
        """Nothing is compiled yet.

        Args:
            parts: of the model.
            plan: what is done to prompts; some plans look at, or move, later tokens as well.
        """
        self._config = parts.decoder.config
        is_still = not observed_layers(plan) and all(keep.positions != "renumbered" for keep in plan.keeps)
        devices = {device_of(layer) for layer in parts.layers}
        self._is_possible = is_still and len(devices) == 1 and parts.is_tested  # other cores may not hand masks on
        self._compiled: tuple[dict[str, Any], Forward] | None = None

    def may_run(self, kwargs: Mapping[str, Any]) -> bool:
        """Whether a call of the core is one new token in each row for a static cache, with a mask made for it."""
        cache, ids = kwargs.get("past_key_values"), kwargs.get("input_ids")
        if not self._is_possible or cache is None or ids is None or ids.shape[1] != 1:
            return False
        return is_static(cache) and cache.get_seq_length() > 0 and self.first_mask(kwargs) is not None

    def first_mask(self, kwargs: Mapping[str, Any]) -> torch.Tensor | None:
        """Layer 0's mask, (B, 1, 1, length); None if generate() has not made it."""
        mask = kwargs.get("attention_mask")
        if isinstance(mask, dict):  # by kind of layer
            mask = mask.get((getattr(self._config, "layer_types", None) or ["full_attention"])[0])
        return mask if isinstance(mask, torch.Tensor) and mask.ndim == 4 else None

    def run(
        self, forward: Forward, settings: CompileConfig, masks: Sequence[torch.Tensor | None], kwargs: Mapping[str, Any]
    ) -> Any:
        """One step.

        Args:
            forward: the core's own.
            settings: how to compile it.
            masks: for each layer the mask of its cache, (B, 1, 1, length), or None for the model's own.
            kwargs: arguments of the core.
        """
        options = settings.to_dict()
        if self._compiled is None or self._compiled[0] != options:
            self._compiled = options, torch.compile(forward, **options)
        return self._compiled[1](**kwargs, **{_MASKS: tuple(masks)})


def is_in_step(kwargs: Mapping[str, Any]) -> bool:
    """Whether a layer's call, with these keyword arguments, belongs to a compiled step."""
    return _MASKS in kwargs


def run_layer_in_step(index: int, forward: Forward, hidden: torch.Tensor, kwargs: dict[str, Any]) -> torch.Tensor:
    """Layer `index` in a compiled step: (B, 1, D) -> (B, 1, D)."""
    mask = kwargs.pop(_MASKS)[index]
    if mask is not None:
        kwargs["attention_mask"] = mask
    return forward(hidden, **kwargs)  # type: ignore[no-any-return]
