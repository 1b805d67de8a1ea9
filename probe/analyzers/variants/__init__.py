"""Probes that run variants of a prompt, which share the layers before their change; importing this registers them."""

__all__: list[str] = []
