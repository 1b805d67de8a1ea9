"""Several prompts as one batch, padded on the left, where their images can stand side by side."""

from collections.abc import Sequence

import torch

from halfv_core.processors import Inputs


def batches(prompts: Sequence[Inputs], pad: int = 0) -> list[tuple[list[int], Inputs]]:
    """Join prompts into batches: one batch, or several where the images have different shapes.

    Args:
        prompts: each a batch of one.
        pad: token id for the padding, which the attention mask leaves out.

    Returns:
        For each batch, the indices of its prompts, and its inputs, with rows in this order.
    """
    groups: dict[tuple[tuple[str, torch.Size], ...], list[int]] = {}
    for index, inputs in enumerate(prompts):
        shapes = [(name, value.shape[1:]) for name, value in inputs.items() if not _is_row(value, inputs)]
        groups.setdefault(tuple(sorted(shapes)), []).append(index)
    return [(rows, _joined([prompts[row] for row in rows], pad)) for rows in groups.values()]


def _joined(prompts: Sequence[Inputs], pad: int) -> Inputs:
    longest = max(inputs["input_ids"].shape[1] for inputs in prompts)

    def whole(inputs: Inputs, name: str) -> torch.Tensor:
        value = inputs[name]
        missing = longest - value.shape[1] if _is_row(value, inputs) else 0
        filler = pad if name == "input_ids" else 0
        return torch.nn.functional.pad(value, (missing, 0), value=filler) if missing else value

    return {name: torch.cat([whole(inputs, name) for inputs in prompts]) for name in prompts[0]}


def _is_row(value: torch.Tensor, inputs: Inputs) -> bool:
    """Whether a tensor has one number for each token."""
    return value.shape == inputs["input_ids"].shape
