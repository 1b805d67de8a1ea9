"""Call: what a forward call of the model brings, and where it has got to in the decoder."""

from threading import local
from typing import Any

import torch
from transformers.generation.configuration_utils import CompileConfig

from halfv_core.runtime.cache_state import CacheState
from halfv_core.runtime.decode_state import DecodeState
from halfv_core.runtime.prefill_state import PrefillState
from halfv_core.runtime.static_cache import StaticPrefill, is_static, real_tokens
from halfv_core.runtime.tracked_cache import state_of


class Call(local):
    """The forward call that is under way in a thread."""

    input_ids: torch.Tensor | None = None
    """(B, q) token ids of its new tokens, if it has them."""
    padding_mask: torch.Tensor | None = None
    """(B, q), nonzero at real tokens; None if there is no padding."""
    has_images = False
    """Whether the model was given images or videos, without which visual token ids are ordinary text."""
    state: PrefillState | DecodeState | None = None
    """None while the plan has nothing to do in it."""
    static: StaticPrefill | None = None
    """Set in a prefill whose cache is static."""
    compiling: CompileConfig | None = None
    """How generate() wants the call compiled, if it does."""


def padding_mask_of(kwargs: dict[str, Any], input_ids: torch.Tensor) -> torch.Tensor | None:
    """The padding mask of a call's tokens, (B, q), nonzero at real ones; None if there is none.

    A prepared 4-D mask says nothing about padding, except the one that generate() makes for a prompt in a static cache.
    """
    mask, cache = kwargs.get("attention_mask"), kwargs.get("past_key_values")
    if isinstance(mask, torch.Tensor) and mask.ndim == 2:
        return mask[:, -input_ids.shape[1] :]
    if cache is not None and is_static(cache) and not cache.get_seq_length():
        return real_tokens(mask, input_ids)
    return None


def is_one_more_token(kwargs: dict[str, Any]) -> bool:
    """Whether a call without token ids brings a single token for a cache in use, which no visual token can be."""
    cache, embeds = kwargs.get("past_key_values"), kwargs.get("inputs_embeds")
    return cache is not None and cache.get_seq_length() > 0 and embeds is not None and embeds.shape[1] == 1


def state_in_use(kwargs: dict[str, Any]) -> CacheState | None:
    """What the cache of a call holds, if it is in use and was filled under a plan."""
    cache = kwargs.get("past_key_values")
    return state_of(cache) if cache is not None and cache.get_seq_length() > 0 else None
