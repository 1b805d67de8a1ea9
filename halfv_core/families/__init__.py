"""Model families, one declarative file each; importing this package registers them."""

from halfv_core.families import llava, llava_next, qwen2_5_vl
from halfv_core.families.base import FAMILIES, Family, Parts, family_of, parts_of, register

__all__ = ["FAMILIES", "Family", "Parts", "family_of", "llava", "llava_next", "parts_of", "qwen2_5_vl", "register"]
