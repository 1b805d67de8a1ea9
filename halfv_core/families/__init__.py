"""Model families, one declarative file each; importing this package registers them.

What does not belong here: code that runs in a forward pass (runtime). A family says where things are in a model.
"""

from halfv_core.families import (
    gemma3,
    idefics3,
    internvl,
    llava,
    llava_next,
    llava_onevision,
    mistral3,
    qwen2_5_vl,
    qwen2_vl,
    qwen3_vl,
    smolvlm,
)
from halfv_core.families.base import FAMILIES, Family, Parts, Tower, family_of, parts_of, register

__all__ = [
    "FAMILIES",
    "Family",
    "Parts",
    "Tower",
    "family_of",
    "gemma3",
    "idefics3",
    "internvl",
    "llava",
    "llava_next",
    "llava_onevision",
    "mistral3",
    "parts_of",
    "qwen2_5_vl",
    "qwen2_vl",
    "qwen3_vl",
    "register",
    "smolvlm",
]
