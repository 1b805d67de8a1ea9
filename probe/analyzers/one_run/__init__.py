"""Probes that need no run beside the full model's own, one file each; importing this registers them."""

from probe.analyzers.one_run import (
    answer_tracking,
    attention_entropy,
    attention_maps,
    attention_shares,
    cka,
    contribution,
    image_heads,
    lens,
    mutual_information,
    rank,
    sinks,
    spectral_energy,
    value_lens,
    variation,
)

__all__ = [
    "answer_tracking",
    "attention_entropy",
    "attention_maps",
    "attention_shares",
    "cka",
    "contribution",
    "image_heads",
    "lens",
    "mutual_information",
    "rank",
    "sinks",
    "spectral_energy",
    "value_lens",
    "variation",
]
