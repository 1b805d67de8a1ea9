"""Numbers of tokens, averaged over the visual and over the text tokens."""

import torch

from halfv_core.errors import DataError

MODALITIES = ("visual", "text")


def by_modality(visual: torch.Tensor) -> dict[str, torch.Tensor]:
    """Which tokens are visual, and which are text.

    Args:
        visual: (N,) bool.

    Returns:
        (N,) bool for each of `MODALITIES`.

    Raises:
        DataError: there are none of one kind.
    """
    groups = dict(zip(MODALITIES, (visual, ~visual), strict=True))
    for name, group in groups.items():
        if not group.any():
            raise DataError(f"there is no {name} token", got=f"{len(visual)} tokens", expected="visual and text tokens")
    return groups
