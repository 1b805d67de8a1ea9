"""Region: the part of an image that a visual token looks at."""

from typing import NamedTuple


class Region(NamedTuple):
    """A box on one image of the prompt, as shares of its width and height."""

    image: int
    """Index of the image in the prompt."""
    left: float
    top: float
    right: float
    bottom: float
