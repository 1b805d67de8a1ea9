"""Rotary tables for positions that are counted anew after a pruning."""

from typing import Any

import torch

from halfv_core.errors import UnsupportedError
from halfv_core.families.base import Parts
from halfv_core.plan import Plan
from halfv_core.runtime.cached_tokens import CachedTokens
from halfv_core.runtime.token_slots import Shift


def check_renumbering(parts: Parts, plan: Plan) -> None:
    """Refuse to count positions anew where they are more than one number for each token.

    Raises:
        UnsupportedError: the plan does so, and the decoder has multimodal positions or several kinds of them.
    """
    if all(keep.positions == "kept" for keep in plan.keeps):
        return
    rope = getattr(parts.decoder.config, "rope_parameters", None) or {}
    if not parts.is_plain or "mrope_section" in rope or any(isinstance(value, dict) for value in rope.values()):
        raise UnsupportedError(
            "positions cannot be counted anew in this decoder",
            got="positions='renumbered', and rotary positions of several axes or kinds, or none that are known",
            expected="positions='kept'",
        )


def rotary_tables(
    parts: Parts,
    position_ids: torch.Tensor,
    indices: torch.Tensor,
    shift: Shift | None,
    cached: CachedTokens | None,
    like: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines, (B, k, head_dim) each, of tokens that are moved towards the beginning.

    Args:
        parts: of the model.
        position_ids: (B or 1, q) of the new tokens.
        indices: (B, k) of the wanted tokens among them.
        shift: of these tokens; None for not at all.
        cached: what the layer's cache holds, whose shift is added.
        like: a table of the model's, for dtype and device.
    """
    positions = position_ids.expand(len(indices), -1).to(like.device).gather(1, indices.to(like.device))
    if shift is not None:
        positions = positions - shift.slots.to(like.device)
    if cached is not None and cached.shift is not None:
        positions = positions - cached.shift.to(like.device)[:, None]
    tables: Any = parts.decoder.rotary_emb(like, positions)
    cos, sin = tables
    return cos, sin
