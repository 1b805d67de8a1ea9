"""Probes that need no run beside the full model's own, one file each; importing this registers them."""

from probe.analyzers.one_run import (
    answer_tracking,
    attention_maps,
    attention_shares,
    contribution,
    image_heads,
    lens,
    sinks,
    value_lens,
)

__all__ = [
    "answer_tracking",
    "attention_maps",
    "attention_shares",
    "contribution",
    "image_heads",
    "lens",
    "sinks",
    "value_lens",
]
