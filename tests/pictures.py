"""Pictures that are the same in every run; Pillow's own noise depends on what the process did before."""

import numpy as np
from PIL import Image


def noise(width: int, height: int, spread: float, seed: int = 0) -> Image.Image:
    """Grey noise around the middle, with the standard deviation `spread`."""
    drawn = np.random.default_rng(seed).normal(128, spread, (height, width)).clip(0, 255)
    return Image.fromarray(drawn.astype(np.uint8)).convert("RGB")
