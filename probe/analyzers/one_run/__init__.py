"""Probes that need no run beside the full model's own, one file each; importing this registers them."""

from probe.analyzers.one_run import (
    attention_entropy,
    attention_shares,
    cka,
    mutual_information,
    rank,
    spectral_energy,
    variation,
)

__all__ = [
    "attention_entropy",
    "attention_shares",
    "cka",
    "mutual_information",
    "rank",
    "spectral_energy",
    "variation",
]
