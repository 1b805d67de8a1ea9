"""A StaticCache under a plan: layers that hold fewer tokens leave the rest of their length empty.

A layer of a StaticCache has a length that never changes, counts its own entries, and hands all of its length to
attention, so that masks have to hide what is empty. What is computed of a prefill needs none of this: layers that see
fewer tokens are run on a DynamicCache, whose entries are then copied.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import Cache, DynamicCache, StaticCache

from halfv_core.errors import UnsupportedError


def is_static(cache: Cache | None) -> bool:
    """Whether a cache is a StaticCache whose layers count their entries themselves, as from transformers 5.9 on."""
    if not isinstance(cache, StaticCache):
        return False
    return isinstance(getattr(cache.layers[0], "cumulative_length", None), torch.Tensor)


def entries_by_layer(cache: Cache, indices: Sequence[int]) -> dict[int, int]:
    """How many entries each of some layers of a cache holds; waits for the device at most once."""
    layers: list[Any] = [cache.layers[index] for index in indices]
    lengths: list[Any] = [layer.get_seq_length() for layer in layers]
    counted = [length for length in lengths if isinstance(length, torch.Tensor)]
    found = iter(torch.stack(counted).tolist() if counted else ())
    return {
        index: next(found) if isinstance(length, torch.Tensor) else length
        for index, length in zip(indices, lengths, strict=True)
    }


def check_window(cache: Cache, length: int) -> None:
    """Refuse a static cache in which tokens slide out of a layer, whose masks could no longer be told.

    Args:
        cache: static.
        length: tokens of the sequence with the new ones.

    Raises:
        UnsupportedError: the sequence outgrows the decoder's sliding window.
    """
    layers: list[Any] = cache.layers
    shortest = min((layer.max_cache_len for layer in layers if layer.is_sliding), default=length)
    if length > shortest:
        raise UnsupportedError(
            "in a static cache, a plan works only while prompt and answer fit the decoder's sliding window",
            got=f"{length} tokens",
            expected=f"{shortest} or fewer",
            remedy="use a DynamicCache",
        )


def length_of(cache: Cache | None, index: int) -> int | None:
    """How many keys layer `index` of a static cache hands to attention; None for another cache."""
    if cache is None or not is_static(cache):
        return None
    layer: Any = cache.layers[index]
    return int(layer.max_cache_len)


def over_whole_length(mask: torch.Tensor, cache: Cache | None, index: int) -> torch.Tensor:
    """A mask for the keys that layer `index` hands to attention.

    Args:
        mask: (B, 1, q, m), bool (true: visible) or additive, for the first m keys.
        cache: the batch's cache.
        index: of the layer.

    Returns:
        (B, 1, q, length of a static layer) with the rest hidden; `mask` itself for any other cache.
    """
    length = length_of(cache, index)
    if length is None:
        return mask
    return pad(mask, (0, length - mask.shape[3]), value=0 if mask.dtype == torch.bool else torch.finfo(mask.dtype).min)


def select_static_entries(layer: Any, remaining: torch.Tensor, added: int) -> None:
    """Of the `added` entries that a layer holds, keep those in slots `remaining`, (B, n'), in place."""
    kept = remaining.shape[1]
    for entries in (layer.keys, layer.values):  # (B, H_kv, length, d)
        where = remaining.to(entries.device)[:, None, :, None].expand(-1, entries.shape[1], -1, entries.shape[3])
        entries[:, :, :kept] = entries[:, :, :added].gather(2, where)
    layer.cumulative_length.fill_(kept)
    if hasattr(layer, "cumulative_length_int"):  # of layers with a sliding window
        layer.cumulative_length_int = kept


def real_tokens(mask: object, input_ids: torch.Tensor) -> torch.Tensor | None:
    """(B, N) bool, true at tokens of a prompt that see themselves, which padding does not.

    Args:
        mask: (B or 1, 1, N, m), bool or additive, as generate() makes it for a static cache; or one for each kind of
            layer.
        input_ids: (B, N) of the prompt.

    Returns:
        None if there is no such mask.
    """
    if isinstance(mask, dict):
        mask = next(iter(mask.values()))
    if not isinstance(mask, torch.Tensor) or mask.ndim != 4:
        return None
    own = mask[:, 0].diagonal(dim1=1, dim2=2)
    return (own if own.dtype == torch.bool else own == 0).expand(input_ids.shape)


class StaticPrefill:
    """What stands between the layers of a prefill and a static cache."""

    def __init__(self, cache: Cache, length: int) -> None:
        """Begin the prefill.

        Args:
            cache: static and empty.
            length: tokens of the prompt, q.
        """
        self._cache = cache
        self._length = length
        self._layers = DynamicCache()
        self._masks: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # by id of the model's mask, which is kept too

    def arguments(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """A layer call's keyword arguments as they would be with a dynamic cache."""
        mask = kwargs.get("attention_mask")
        if isinstance(mask, torch.Tensor) and mask.ndim == 4:
            if id(mask) not in self._masks:
                self._masks[id(mask)] = mask, mask[..., : self._length]
            mask = self._masks[id(mask)][1]
        return kwargs | {"attention_mask": mask, "past_key_values": self._layers}

    def store(self, index: int) -> None:
        """Put what layer `index` has added into the static cache, unless it did so itself."""
        if len(self._layers.layers) > index:
            layer: Any = self._layers.layers[index]
            self._cache.update(layer.keys, layer.values, index)
            self._layers = DynamicCache()
