"""Where visual tokens look, one file for each way of cutting images up; importing this package registers them."""

from probe.capture.regions import gemma3, idefics3, internvl, llava, llava_next, llava_onevision, mistral3, qwen_vl
from probe.capture.regions.base import REGIONS, regions_of

__all__ = [
    "REGIONS",
    "gemma3",
    "idefics3",
    "internvl",
    "llava",
    "llava_next",
    "llava_onevision",
    "mistral3",
    "qwen_vl",
    "regions_of",
]
