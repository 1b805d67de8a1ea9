"""One layer with its visual tokens frozen: text rows alone go through it, visual rows are keys and values.

The rule of ShortV (arXiv 2504.00502): the layer's queries, output projection and MLP run for the text rows only.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import Cache

from halfv_core.attention import keys_and_values
from halfv_core.families.base import Parts
from halfv_core.step import LayerStep, causal_mask


class FrozenRows:
    """Stands in for the cache during one layer call: puts the frozen rows' keys and values among those of the text."""

    def __init__(self, cache: Cache | None, text: torch.Tensor, visual: torch.Tensor, frozen: tuple[torch.Tensor, ...]):
        self._cache = cache
        self._text = text
        self._visual = visual
        self._frozen = frozen

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer_index: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take the text rows' (1, kv_heads, t, head_dim), store and return all n rows' in the prompt's order."""
        merged = [self._merge(*pair) for pair in zip((keys, values), self._frozen, strict=True)]
        if self._cache is None:
            return merged[0], merged[1]
        return self._cache.update(merged[0], merged[1], layer_index, *args, **kwargs)

    def _merge(self, text: torch.Tensor, frozen: torch.Tensor) -> torch.Tensor:
        rows = text.new_empty(*text.shape[:2], len(self._text) + len(self._visual), text.shape[3])
        return rows.index_copy(2, self._text, text).index_copy(2, self._visual, frozen)


def run_frozen(
    parts: Parts, index: int, forward: Callable[..., torch.Tensor], step: LayerStep, arguments: Mapping[str, Any]
) -> torch.Tensor:
    """Call decoder layer `index` on the text rows of `step`.

    Args:
        forward: the layer's own forward.
        arguments: keyword arguments of the call for the full prompt, with the real cache or None.

    Returns:
        (1, n, D): text rows updated, visual rows as they came.
    """
    text, visual = step.text_indices(), step.visual_indices()
    frozen = keys_and_values(parts, parts.layers[index], step, visual)
    if step.mask is None:
        mask = causal_mask(step.positions.index_select(0, text), step.positions, step.hidden.dtype)  # (1, 1, t, n)
    else:
        mask = step.mask.index_select(2, text)
    call = step.select(text).call_arguments(arguments)
    call |= {
        "attention_mask": mask,
        "past_key_values": FrozenRows(arguments.get("past_key_values"), text, visual, frozen),
    }
    updated = forward(step.hidden.index_select(1, text), **call)  # (1, t, D)
    return step.hidden.index_copy(1, text, updated)
