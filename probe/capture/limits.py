"""Numbers that bound the memory of what this room runs; apart from the code, they can be read without torch."""

MAX_BATCH_TOKENS = 4096
"""Keys of all variants that pass through a layer at once: enough to keep a device busy, and half a GB in bfloat16 at 7B
shapes."""
MLP_SLICE = 512
"""Tokens that an MLP in float32 takes at once, of which it makes many times as many numbers as it is given."""
