"""CacheState: what the KV cache of a batch holds between forward calls, and whether the cache still fits that."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Cache, DynamicCache

from halfv_core.errors import UnsupportedError
from halfv_core.families.base import Parts
from halfv_core.plan import Plan
from halfv_core.runtime.cached_tokens import CachedTokens
from halfv_core.runtime.run_record import RunRecord
from halfv_core.runtime.static_cache import entries_by_layer, is_static
from halfv_core.runtime.token_slots import TokenSlots


class CacheState:
    """Which tokens each layer's cache holds for one batch; it lives, and is copied, with the batch's cache.

    Layers that hold the same tokens share one object that says so.
    """

    def __init__(self, parts: Parts, plan: Plan, record: RunRecord) -> None:
        self.plan = plan
        """The plan under which the cache was filled."""
        self.record = record
        """The record of everything that goes through this cache."""
        self.rope_deltas: torch.Tensor | None = None
        """(B, 1) positions minus token indices behind the latest prefill, in models that keep them for decoding."""
        self._cached: list[CachedTokens | None] = [None] * len(parts.layers)  # None: the whole sequence
        self._recurrent, self._first = parts.recurrent, parts.first_attention
        everywhere = any(keep.cache == "everywhere" for keep in plan.keeps)
        self._window = parts.window if plan.interventions and (parts.flash or everywhere) else None
        self._prefill_end = 0  # length of the sequence after its latest prefill
        self._is_unfinished = False  # whether a prefill has begun and not gone through all layers
        self._ends_in_image = False  # whether that prefill's last token is visual, in any row

    @property
    def rows(self) -> int:
        """Rows of the batch, B."""
        return self.record.rows

    @property
    def is_pruned(self) -> bool:
        """Whether any layer's cache no longer holds the whole sequence, or may not after a prefill that failed."""
        return self._is_unfinished or any(cached is not None for cached in self._cached)

    def cached(self, index: int) -> CachedTokens | None:
        """The tokens in the cache of layer `index` after the latest prefill; None for the whole sequence."""
        return self._cached[index]

    def cached_length(self, index: int, past: int) -> int:
        """Number of entries in the cache of layer `index` when the sequence has `past` tokens."""
        cached = self.cached(index)
        return past if cached is None else cached.length(past)

    def sequence_length(self, entries: int) -> int:
        """Number of tokens in the sequence when the first cache with entries has that many of them."""
        cached = self._cached[self._first]
        return entries if cached is None else cached.sequence_length(entries)

    def begin_prefill(self) -> None:
        """Tell that a prefill is about to go through the layers; `add_prefill` says that it has."""
        self._is_unfinished = True

    def add_prefill(self, slots: Sequence[TokenSlots], past: int, length: int, *, ends_in_image: bool) -> None:
        """Add the tokens of a prefill that has gone through all layers.

        Args:
            slots: for each layer, the tokens that it has added to its cache.
            past: length of the sequence before the prefill.
            length: length of the sequence after it.
            ends_in_image: whether the prefill's last token is visual, in any row.
        """
        made: dict[tuple[int, int], CachedTokens | None] = {}
        for index, (before, added) in enumerate(zip(self._cached, slots, strict=True)):
            key = id(before), id(added)
            if key not in made:
                made[key] = CachedTokens.after_prefill(before, added, past, length)
            self._cached[index] = made[key]
        self._prefill_end = length
        self._ends_in_image = ends_in_image
        self._is_unfinished = False

    def select_rows(self, indices: torch.Tensor) -> None:
        """Replace the rows of the batch by the rows `indices`, (B',), as the cache did with its keys and values."""
        selected = {id(cached): cached.select_rows(indices) for cached in self._cached if cached is not None}
        self._cached = [None if cached is None else selected[id(cached)] for cached in self._cached]
        if self.rope_deltas is not None:
            self.rope_deltas = self.rope_deltas[indices.to(self.rope_deltas.device)]
        self.record.select_rows(indices.tolist())

    def check_sequence(self, past: int, length: int, *, is_prefill: bool) -> None:
        """Refuse new tokens that the plan cannot handle.

        Within the decoder's sliding window, a sliding layer sees what a full layer sees. Beyond it, FlashAttention
        would count the window in cached tokens instead of tokens of the sequence, and what has slid out of a cache
        cannot be told from what is to be taken out of it.

        Args:
            past: length of the sequence before the new tokens.
            length: length of the sequence with the new tokens.
            is_prefill: whether there are visual tokens among the new ones.

        Raises:
            UnsupportedError: the cache was cropped into a prefill, a prompt was cut at an image, or the sequence
                outgrows the sliding window.
        """
        if past < self._prefill_end:
            raise UnsupportedError(
                "the cache was cut into the prompt", got=past, expected=f"{self._prefill_end} or more"
            )
        if (
            self._ends_in_image
            and self.plan.interventions
            and past == self._prefill_end
            and (is_prefill or length - past > 1)
        ):
            raise UnsupportedError(
                "the prompt was cut at an image, whose tokens were then chosen without the text that follows",
                got=f"a part of {past} tokens that ends in an image, and {length - past} more",
                remedy="pass the image and the text that follows it in one call",
            )
        pruned = is_prefill or self._prefill_end > 0
        if pruned and self._window is not None and length > self._window:
            raise UnsupportedError(
                "with FlashAttention, or with cache='everywhere', a plan works only while prompt and answer fit the "
                "decoder's sliding window",
                got=f"{length} tokens",
                expected=f"{self._window} or fewer",
                remedy="load the model with attn_implementation='sdpa', and keep cache='onward'",
            )

    def check_cache(self, cache: Cache, past: int) -> None:
        """Refuse a cache whose layers no longer hold what they should.

        Args:
            cache: the batch's cache.
            past: length of the sequence.

        Raises:
            UnsupportedError: the cache of a layer has another length or other rows than it should have.
        """
        if not isinstance(cache, DynamicCache) and not is_static(cache):
            return  # it takes text only, and nothing is pruned
        if self._is_unfinished:
            raise UnsupportedError(
                "an earlier call failed and left this KV cache half filled", remedy="start a new cache"
            )
        with_keys = [
            index for index in range(min(len(cache.layers), len(self._cached))) if index not in self._recurrent
        ]
        for index, found in entries_by_layer(cache, with_keys).items():
            layer: Any = cache.layers[index]
            expected = self.cached_length(index, past)
            if found != expected:
                raise UnsupportedError(
                    "the layers of the cache no longer fit together",
                    got=f"{found} tokens at layer {index}",
                    expected=expected,
                    remedy="cut a cache by the same number of tokens in every layer, and continue a pruned one as the "
                    "object that the plan filled or a copy.deepcopy of it",
                )
            if len(layer.keys) != self.rows:
                raise UnsupportedError(
                    "the rows of the cache are not those that the plan has seen",
                    got=f"{len(layer.keys)} rows at layer {index}",
                    expected=self.rows,
                    remedy="change rows with the cache's own methods, such as batch_repeat_interleave",
                )

    def check_rows(self, rows: int) -> None:
        """Refuse an input of other rows than the cache has.

        Raises:
            UnsupportedError: the input does not have B rows.
        """
        if rows != self.rows:
            raise UnsupportedError(
                "the cache does not have the rows of the input",
                got=f"{rows} rows",
                expected=f"{self.rows} as in the cache",
                remedy="repeat or select the cache's rows with batch_repeat_interleave or batch_select_indices",
            )
