"""How long the prompt of a sample will be, roughly and without a model: long ones are measured first.

When several processes share the samples, the order decides how long the last one is waited for; nothing else does.
"""

import io
import warnings

from PIL import Image

from halfv_core.errors import DataError
from probe.data.images import ImageSource, image_bytes
from probe.data.samples import Sample
from probe.data.videos import FrameImages, VideoSource

PIXELS = 28 * 28
"""Of a visual token, about."""
LETTERS = 4
"""Of a text token, about."""


def prompt_size(sample: Sample) -> float:
    """About the number of tokens; an image or a video that cannot be read counts nothing."""
    pixels = sum(map(_pixels, sample.images)) + sum(map(_video_pixels, sample.videos))
    return pixels / PIXELS + len(sample.text) / LETTERS


def _video_pixels(video: VideoSource) -> int:
    return sum(map(_pixels, video.used)) if isinstance(video, FrameImages) else video.pixels()


def _pixels(source: ImageSource) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(image_bytes(source))) as image:  # reads the header alone
                return image.width * image.height
    except (DataError, OSError, ValueError, SyntaxError):
        return 0
