"""CacheState: what the KV cache of a batch holds between forward calls, and whether the cache still fits that."""

from collections.abc import Sequence

from transformers import Cache, DynamicCache

from halfv_core.errors import UnsupportedError
from halfv_core.families.base import Parts
from halfv_core.plan import Plan
from halfv_core.runtime.cached_tokens import CachedTokens
from halfv_core.runtime.run_record import RunRecord
from halfv_core.runtime.token_slots import TokenSlots


class CacheState:
    """Which tokens each layer's cache holds for one batch; it lives as long as the batch's cache.

    Layers between two prunings hold the same tokens and form a *group*; group 0 is the layers before the first pruning.
    """

    def __init__(self, parts: Parts, plan: Plan, record: RunRecord) -> None:
        self.record = record
        """The record of everything that goes through this cache."""
        self._groups = [sum(keep.layer <= index for keep in plan.keeps) for index in range(len(parts.layers))]
        self._cached: list[CachedTokens | None] = [None] * (len(plan.keeps) + 1)  # by group; None: the whole sequence
        self._window = parts.window if plan.interventions else None
        self._prefill_end = 0  # length of the sequence after its latest prefill

    def cached(self, index: int) -> CachedTokens | None:
        """The tokens in the cache of layer `index` after the latest prefill; None for the whole sequence."""
        return self._cached[self._groups[index]]

    def cached_length(self, index: int, past: int) -> int:
        """Number of entries in the cache of layer `index` when the sequence has `past` tokens."""
        cached = self.cached(index)
        return past if cached is None else cached.length(past)

    def add_prefill(self, slots: Sequence[TokenSlots], past: int, length: int) -> None:
        """Add the tokens of a prefill that has gone through all layers.

        Args:
            slots: for each group, the tokens that went through its layers.
            past: length of the sequence before the prefill.
            length: length of the sequence after it.
        """
        self._cached = [
            CachedTokens.after_prefill(before, added, past, length)
            for before, added in zip(self._cached, slots, strict=True)
        ]
        self._prefill_end = length

    def check_sequence(self, past: int, length: int, *, is_prefill: bool) -> None:
        """Refuse new tokens that the plan cannot handle.

        Within the decoder's sliding window, a sliding layer sees what a full layer sees. Beyond it, the layer would
        count the window in cached tokens instead of tokens of the sequence.

        Args:
            past: length of the sequence before the new tokens, as layer 0's cache has it.
            length: length of the sequence with the new tokens.
            is_prefill: whether there are visual tokens among the new ones.

        Raises:
            UnsupportedError: the cache was cropped into a prefill, or the sequence outgrows the sliding window.
        """
        if past < self._prefill_end:
            raise UnsupportedError(
                "the cache was cut into the prompt", got=past, expected=f"{self._prefill_end} or more"
            )
        pruned = is_prefill or self._prefill_end > 0
        if pruned and self._window is not None and length > self._window:
            raise UnsupportedError(
                "a plan works only while prompt and answer fit the decoder's sliding window",
                got=f"{length} tokens",
                expected=f"{self._window} or fewer",
                remedy="shorten the prompt or the answer, or run this one without the plan",
            )

    def check_layer(self, index: int, cache: Cache | None, past: int) -> None:
        """Refuse a cache that was changed differently in different layers since the latest prefill.

        Args:
            index: of the layer.
            cache: the batch's cache.
            past: length of the sequence, as layer 0's cache has it.

        Raises:
            UnsupportedError: the cache of the layer has another length than it should have.
        """
        if index == 0 or cache is None:
            return
        expected = self.cached_length(index, past)
        if cache.get_seq_length(index) != expected:
            raise UnsupportedError(
                "the layers of the cache no longer fit together",
                got=f"{cache.get_seq_length(index)} tokens at layer {index}",
                expected=expected,
                remedy="cut a cache by the same number of tokens in every layer",
            )


def check_cache_type(cache: Cache | None) -> None:
    """Refuse a cache that cannot hold a different number of tokens in each layer.

    Raises:
        UnsupportedError: the cache is not a DynamicCache.
    """
    if cache is not None and type(cache) is not DynamicCache:
        raise UnsupportedError(
            "this cache cannot hold a different length for each layer",
            got=type(cache).__name__,
            expected="DynamicCache",
        )
