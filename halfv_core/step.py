"""LayerStep: the tensors of one decoder layer's call, and what it means to go on with a part of the tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch


@dataclass(frozen=True)
class LayerStep:
    """One prompt (batch of one) on its way into a layer, n tokens alive."""

    hidden: torch.Tensor
    """(1, n, D) states."""
    cos: torch.Tensor
    """(1, n, head_dim) rotary cosines, of the original positions."""
    sin: torch.Tensor
    """(1, n, head_dim)."""
    mask: torch.Tensor | None
    """(1, 1, n, n), bool (true: visible) or additive; None stands for plain causal."""
    positions: torch.Tensor
    """(n,) ascending positions in the padded prompt."""
    visual: torch.Tensor
    """(n,) bool."""
    trailing: int
    """Tokens behind the last prompt token: right padding, which is never dropped."""

    @property
    def last(self) -> int:
        """Index, among the n, of the last prompt token."""
        return len(self.positions) - 1 - self.trailing

    def select(self, keep: torch.Tensor) -> "LayerStep":
        """Go on with the tokens at the indices `keep` (k,), ascending; no text token may be missing at the end."""
        mask = self.mask
        if mask is not None:
            mask = mask.index_select(2, keep).index_select(3, keep)
        return replace(
            self,
            hidden=self.hidden.index_select(1, keep),
            cos=self.cos.index_select(1, keep),
            sin=self.sin.index_select(1, keep),
            mask=mask,
            positions=self.positions.index_select(0, keep),
            visual=self.visual.index_select(0, keep),
        )

    def visual_indices(self) -> torch.Tensor:
        """(V,) indices of the visual tokens among the n."""
        return self.visual.nonzero().squeeze(1)

    def text_indices(self) -> torch.Tensor:
        """(n - V,) indices of all other tokens."""
        return (~self.visual).nonzero().squeeze(1)

    def call_arguments(self, original: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments of the layer call for these tokens, from those of the full prompt.

        Per-token arguments that families pass on (`position_ids`, `cache_position`) are cut to the tokens alive.
        """
        arguments = dict(original, attention_mask=self.mask, position_embeddings=(self.cos, self.sin))
        for name in ("position_ids", "cache_position"):
            if isinstance(arguments.get(name), torch.Tensor):
                arguments[name] = arguments[name].index_select(-1, self.positions)
        return arguments


def causal_mask(queries: torch.Tensor, keys: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask by position: a query sees every key that is not after it.

    Args:
        queries: (q,) positions.
        keys: (k,) positions.

    Returns:
        (1, 1, q, k): 0 where visible, the dtype's minimum elsewhere.
    """
    hidden = keys[None, :] > queries[:, None]  # (q, k)
    mask = torch.zeros(hidden.shape, dtype=dtype, device=queries.device)
    return mask.masked_fill(hidden, torch.finfo(dtype).min)[None, None]
