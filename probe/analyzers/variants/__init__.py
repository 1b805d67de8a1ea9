"""Probes that run variants of a prompt, which share the layers before their change; importing this registers them."""

from probe.analyzers.variants import (
    cache_removal,
    drop_from,
    heads,
    image_patching,
    knockout,
    layer_contribution,
    patching,
    selector_horizon,
    shallow_block,
    token_ablation,
)

__all__ = [
    "cache_removal",
    "drop_from",
    "heads",
    "image_patching",
    "knockout",
    "layer_contribution",
    "patching",
    "selector_horizon",
    "shallow_block",
    "token_ablation",
]
