"""What the last prompt token of the full model attends to, at a few layers, from their inputs."""

from collections.abc import Iterable, Mapping
from functools import partial, wraps
from typing import Any

import torch
from transformers import PreTrainedModel

from halfv_core.families import Family, parts_of
from halfv_core.runtime.attention import attention_scores
from halfv_core.runtime.layer_input import LayerInput
from halfv_core.runtime.layout import TokenLayout
from halfv_core.runtime.patching import Forward, Wrap, wrapped
from halfv_core.runtime.token_slots import TokenSlots


@torch.no_grad()
def attention_of_last(
    model: PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    layers: Iterable[int],
    *,
    family: Family | None = None,
) -> dict[int, torch.Tensor]:
    """Shares of the last token's attention that the prompt's V visual tokens get.

    Args:
        inputs: model inputs, batch of one.

    Returns:
        by layer (V,) float32: softmax over all keys, mean over heads, rotary positions on.
    """
    parts = parts_of(model, family)
    layout = TokenLayout.find(inputs["input_ids"], parts.visual_ids, inputs.get("attention_mask"))
    found: dict[int, torch.Tensor] = {}

    def around(layer: int, forward: Forward) -> Forward:
        @wraps(forward)
        def run(hidden: torch.Tensor, **kwargs: Any) -> Any:
            # Where layers lie on several devices, accelerate moves what a layer is given only after this.
            device = next(parts.layers[layer].parameters()).device
            cos, sin = (table.to(device) for table in kwargs["position_embeddings"])
            mask = kwargs.get("attention_mask")
            slots = TokenSlots.all_of(layout.visual.to(device), layout.real.to(device), past=0)
            mask = None if mask is None else mask.to(device)
            layer_input = LayerInput(hidden.to(device), cos, sin, mask, slots, past=0)
            found[layer] = attention_scores(parts, parts.layers[layer], layer_input, 0, "attention", rope=True)
            return forward(hidden, **kwargs)

        return run

    with wrapped([Wrap(parts.layers[layer], "forward", partial(around, layer)) for layer in layers], plan=False):
        model(**inputs, use_cache=False, logits_to_keep=1)
    return found
