"""Decodes image files from untrusted sources within limits, to upright 8-bit RGB."""

import io
import warnings
from functools import cache

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from halfv_core.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
"""Accepted formats, which hold pixels only; not PostScript and the like, for which Pillow runs other programs."""

MAX_PIXELS = 100_000_000
"""Larger images are rejected before they are decoded, since a small file can expand to gigabytes of pixels."""

MAX_ASPECT = 200
"""Largest ratio of the longer to the shorter side; Qwen-VL's image processors reject longer strips."""


def decode(name: str, data: bytes, max_pixels: int | None = None) -> Image.Image:
    """Decode an image file to upright 8-bit RGB.

    EXIF rotation is applied, transparency is blended with white, 16-bit values are scaled, and of an animation the
    first frame is used.

    Args:
        name: where the image is, for messages.
        data: the bytes of the file.
        max_pixels: refuse larger images; by default `MAX_PIXELS`.

    Raises:
        DataError: the data are empty, truncated, not one of `FORMATS`, or exceed `max_pixels` or `MAX_ASPECT`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MAX_PIXELS is stricter than the limit that Pillow warns about
            with Image.open(io.BytesIO(data), formats=_decoders()) as image:
                _check_size(name, *image.size, MAX_PIXELS if max_pixels is None else max_pixels)
                return _rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise DataError(f"{name} is not an image that can be read", expected=f"one of {', '.join(FORMATS)}") from None
    except DataError:
        raise
    except Exception as error:  # a broken file can make a decoder raise anything
        raise DataError(f"cannot decode image {name}: {error}") from None


def is_image(data: bytes) -> bool:
    """Whether the data begin like an image of one of `FORMATS`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(io.BytesIO(data), formats=_decoders()).close()
    except Exception:  # see `decode`
        return False
    return True


@cache
def _decoders() -> tuple[str, ...]:
    """Those of `FORMATS` that the installed Pillow supports."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_size(name: str, width: int, height: int, max_pixels: int) -> None:
    size = f"{width} x {height} px"
    if width * height > max_pixels:
        raise DataError(f"image {name} is too large to be decoded safely", got=size, expected=f"{max_pixels:,} px")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise DataError(f"image {name} is too narrow a strip", got=size, expected=f"sides within 1:{MAX_ASPECT}")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        image = _to_8_bit(image)
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), layers)
    return image.convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Scale grey values to 8 bits: integers from 16 bits, floats from their own minimum and maximum."""
    if image.mode == "F":
        values = np.asarray(image, dtype=np.float64)  # (height, width)
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        values = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / (high - low or 1.0) * 255
        return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))
    scaled = np.clip(np.asarray(image), 0, 65535).astype(np.int32, copy=False)  # (height, width)
    scaled += 128  # in place, since an image within the limits may take 400 MB here
    scaled //= 257
    return Image.fromarray(scaled.astype(np.uint8))
