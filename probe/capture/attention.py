"""Attention of the last prompt token to the visual tokens, at chosen layers of the full model."""

from collections.abc import Iterable, Mapping
from functools import partial, wraps
from typing import Any

import torch
from transformers import PreTrainedModel

from halfv_core.families import Family, parts_of
from halfv_core.precision import not_finite
from halfv_core.runtime.attention import attention_scores
from halfv_core.runtime.layout import TokenLayout
from halfv_core.runtime.patching import Forward, Wrap, by_name, wrapped
from probe.capture.layer_views import layer_input_of


@torch.no_grad()
def attention_of_last(
    model: PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    layers: Iterable[int],
    *,
    family: Family | None = None,
) -> dict[int, torch.Tensor]:
    """Attention weights from the last prompt token to each of the prompt's V visual tokens.

    Args:
        inputs: model inputs, batch of one.
        layers: indices of the decoder layers to look at.

    Returns:
        layer -> (V,) float32; softmax over all keys, mean over heads, with rotary positions.

    Raises:
        UnsupportedError: scores are NaN, as when float16 overflows.
    """
    parts = parts_of(model, family)
    layout = TokenLayout.find(inputs["input_ids"], parts.visual_ids, inputs.get("attention_mask"))
    shares: dict[int, torch.Tensor] = {}

    def around(layer: int, forward: Forward) -> Forward:
        @wraps(forward)
        def run(hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            kwargs = by_name(forward, args, kwargs)
            layer_input = layer_input_of(parts, layer, layout, hidden, kwargs)
            scores = attention_scores(parts, parts.layers[layer], layer_input, "attention", rope=True)  # (1, N)
            shares[layer] = scores.gather(1, layer_input.slots.visual_slots())[0]
            return forward(hidden, **kwargs)

        return run

    with wrapped([Wrap(parts.layers[layer], "forward", partial(around, layer)) for layer in layers], plan=False):
        model(**inputs, use_cache=False, logits_to_keep=1)
    for layer, scores in shares.items():
        if not scores.isfinite().all():
            what = f"the attention of layer {layer} to visual tokens is not finite"
            raise not_finite(what, "NaN or infinite scores", model.dtype)
    return shares
