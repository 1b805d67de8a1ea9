"""The image region behind each visual token, one file per way of tiling images; importing this package registers all.

What does not belong here: what a model attends to or a plan keeps (attention, calibration), and drawing (report).
"""

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
