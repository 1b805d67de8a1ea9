"""Passage: one prompt's way down the decoder, which tokens are alive at each layer, in prefill and after."""

from dataclasses import replace
from typing import Any

import torch
from transformers import Cache, DynamicCache

from halfv_core.attention import attention_scores
from halfv_core.errors import UnsupportedError
from halfv_core.families.base import Parts
from halfv_core.layout import TokenLayout
from halfv_core.plan import Keep, Plan
from halfv_core.selectors import make_selector
from halfv_core.selectors.base import Scoring
from halfv_core.step import LayerStep


def check_prompt(layout: TokenLayout, cache: Cache | None) -> None:
    """Refuse a prompt with visual tokens that would not be handled rightly.

    Raises:
        UnsupportedError: more than one row, or a cache that cannot hold a length for each layer.
    """
    if layout.rows > 1:
        raise UnsupportedError(
            "prompts with images run one at a time under a plan",
            got=f"a batch of {layout.rows} (beam search and num_return_sequences make one too)",
            expected="a batch of 1",
        )
    if cache is not None and type(cache) is not DynamicCache:
        raise UnsupportedError(
            "this cache cannot hold a different length for each layer",
            got=type(cache).__name__,
            expected="DynamicCache",
        )


class Passage:
    """State of one prompt of N tokens under a plan; it lives as long as the prompt's cache."""

    def __init__(self, parts: Parts, plan: Plan, layout: TokenLayout, kept: dict[int, list[torch.Tensor]]) -> None:
        self._parts = parts
        self._keeps = {keep.layer: keep for keep in plan.keeps}
        self._kept = kept
        self._length = layout.length
        self._alive = torch.arange(layout.length, device=layout.visual.device)  # (n,)
        self._visual_at_start = layout.prunable[0]  # (N,)
        self._original_count = self.visual_count = int(self._visual_at_start.sum())
        self._trailing = layout.length - 1 - int(layout.last[0])
        self._held: list[torch.Tensor | None] = []
        self._before: LayerStep | None = None
        self._tables: tuple[torch.Tensor | None, torch.Tensor | None] = (None, None)
        self._past = 0
        self.in_prefill = True

    # -- prefill ---------------------------------------------------------------------------------------------------

    def arrive(self, index: int, hidden: torch.Tensor, kwargs: dict[str, Any]) -> LayerStep:
        """The tokens alive at layer `index`, after the plan's Keep there if it has one.

        Args:
            hidden: (1, n, D), as the layer before left it.
            kwargs: the layer call's arguments, still of the full prompt's length N.
        """
        step = self._step(index, hidden, kwargs)
        keep = self._keeps.get(index)
        if keep is not None:
            step = self._prune(keep, index, step)
        self._before = step
        self._held.append(None if len(step.positions) == self._length else step.positions)
        return step

    def arguments(self, step: LayerStep, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The layer call's arguments for the tokens alive; the very same ones while all are."""
        return kwargs if len(step.positions) == self._length else step.call_arguments(kwargs)

    def leave(self, index: int, output: torch.Tensor) -> torch.Tensor:
        """What layer `index` hands on; after the last one the prompt has its full length, with zeros at dead tokens."""
        if index + 1 < len(self._parts.layers):
            return output
        self.in_prefill = False
        self._before = None
        self._tables = (None, None)
        if output.shape[1] == self._length:
            return output
        full = output.new_zeros(1, self._length, output.shape[2])
        return full.index_copy(1, self._alive.to(output.device), output)

    def _step(self, index: int, hidden: torch.Tensor, kwargs: dict[str, Any]) -> LayerStep:
        """Masks and rotary tables come in full length at every layer; they are cut once for each set of tokens."""
        # Where layers lie on several devices, accelerate moves what a layer is given only after this.
        device = next(self._parts.layers[index].parameters()).device
        hidden, (cos, sin) = hidden.to(device), (table.to(device) for table in kwargs["position_embeddings"])
        mask = kwargs.get("attention_mask")
        mask = None if mask is None else mask.to(device)
        if self._before is not None and self._tables[0] is cos and self._tables[1] is mask:
            return replace(self._before, hidden=hidden)
        self._tables = (cos, mask)
        whole = LayerStep(
            hidden=hidden.new_empty(1, self._length, 0),
            cos=cos,
            sin=sin,
            mask=mask,
            positions=torch.arange(self._length, device=device),
            visual=self._visual_at_start.to(device),
            trailing=self._trailing,
        )
        cut = whole if hidden.shape[1] == self._length else whole.select(self._alive.to(device))
        return replace(cut, hidden=hidden)

    def _prune(self, keep: Keep, index: int, step: LayerStep) -> LayerStep:
        count = keep.count(self._original_count)
        visual = step.visual_indices()
        if count < len(visual):
            chosen = self._choose(keep, index, step, count)
            stays = (~step.visual).index_fill(0, visual.index_select(0, chosen), True)
            step = step.select(stays.nonzero().squeeze(1))
            self._alive, self.visual_count = step.positions, count
        self._kept[keep.layer] = [step.positions[step.visual]]
        return step

    def _choose(self, keep: Keep, index: int, step: LayerStep, count: int) -> torch.Tensor:
        """(count,) indices into the visual tokens of `step`."""
        if count == 0:
            return torch.empty(0, dtype=torch.long, device=step.hidden.device)
        assert self._before is not None, "layer 0 is never pruned, so a layer came before"
        view = _View(self._parts, index, self._before, step)
        return make_selector(keep.selector, keep.options).select(view, count)

    # -- after the prompt -------------------------------------------------------------------------------------------

    def go_on(self, past: int, has_images: bool) -> None:
        """Tokens come in after `past` tokens, the prompt's among them.

        Raises:
            UnsupportedError: there are images among them, or the cache was cut into the prompt.
        """
        self._past = past
        if past < self._length:
            raise UnsupportedError("the cache was cut into the prompt", got=past, expected=f"{self._length} or more")
        if has_images:
            raise UnsupportedError(
                "images in a later turn cannot be pruned into a running cache",
                remedy="run the whole conversation as one prompt",
            )

    def continue_arguments(self, index: int, cache: Cache | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The layer call's arguments when the layer's cache holds fewer tokens than layer 0's.

        Raises:
            UnsupportedError: the cache was changed since the prompt, not alike in all layers.
        """
        held = self._held[index]
        expected = self._past - (0 if held is None else self._length - len(held))
        if index > 0 and cache is not None and cache.get_seq_length(index) != expected:
            raise UnsupportedError(
                "the layers of the cache no longer fit together",
                got=f"{cache.get_seq_length(index)} tokens at layer {index}",
                expected=expected,
                remedy="cut a cache by the same number of tokens in every layer",
            )
        mask = kwargs.get("attention_mask")
        if held is None or mask is None:  # without a mask there is one new token, which sees all there is
            return kwargs
        new = kwargs["position_embeddings"][0].shape[1]
        later = torch.arange(self._length, self._past + new, device=held.device)
        keys = torch.cat([held, later])  # (expected + new,)
        return dict(kwargs, attention_mask=mask.index_select(3, keys.to(mask.device)))


class _View:
    """What a selector sees; see `SelectionContext`."""

    def __init__(self, parts: Parts, index: int, before: LayerStep, step: LayerStep) -> None:
        self._parts = parts
        self._index = index
        self._before = before
        self._step = step

    @property
    def visual_count(self) -> int:
        return len(self._step.visual_indices())

    @property
    def device(self) -> torch.device:
        return self._step.hidden.device

    def attention_scores(self, scoring: Scoring, rope: bool) -> torch.Tensor:
        layer = self._parts.layers[self._index - 1]
        return attention_scores(self._parts, layer, self._before, scoring, rope).to(self.device)

    def normed_hidden(self) -> torch.Tensor:
        visual = self._step.hidden[0].index_select(0, self._step.visual_indices())
        return self._parts.norm(visual)  # type: ignore[no-any-return]
