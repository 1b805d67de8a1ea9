"""Probes that need no run beside the full model's own, one file each; importing this registers them."""

from probe.analyzers.one_run import attention_shares

__all__ = ["attention_shares"]
