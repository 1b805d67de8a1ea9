"""Opens images from untrusted sources: decoded within limits, upright, in RGB; downloaded only on request.

An image of a sample is an `ImageSource`: a path, or an `EmbeddedImage` that reads the bytes of an image file on demand.
"""

import base64
import io
import string
import urllib.request
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from halfv_core.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
"""Accepted formats, which hold pixels only; not PostScript and the like, for which Pillow runs other programs."""

MAX_PIXELS = 100_000_000
"""Larger images are rejected before they are decoded, since a small file can expand to gigabytes of pixels."""

MAX_ASPECT = 200
"""Largest ratio of the longer to the shorter side; Qwen-VL's image processors reject longer strips."""

MAX_FILE = 1_000_000_000
"""Largest image file that is read, bytes."""

MAX_DOWNLOAD = 50_000_000
"""Largest download, bytes."""

TIMEOUT = 30.0
"""Seconds without a response after which a download fails."""


@dataclass(frozen=True)
class EmbeddedImage:
    """An image file that is not on disk: in a Parquet column, a saved data set, a base64 string, or at a URL."""

    name: str
    """Where the image is, for messages."""
    read: Callable[[], bytes] = field(repr=False, compare=False)
    """Returns the bytes of the file; raises OSError or ValueError if it cannot be read."""


ImageSource = Path | EmbeddedImage


def image_bytes(source: ImageSource) -> bytes:
    """The bytes of the image file.

    Raises:
        DataError: the file does not exist or cannot be read.
    """
    try:
        if isinstance(source, EmbeddedImage):
            return source.read()
        if source.stat().st_size > MAX_FILE:
            raise ValueError(f"larger than {MAX_FILE:,} bytes")
        return source.read_bytes()
    except FileNotFoundError:
        raise DataError(f"no image at {image_name(source)}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error  # strerror omits the path, which the message has already
        raise DataError(f"cannot read image {image_name(source)}: {reason}") from None


def open_image(source: str | ImageSource) -> Image.Image:
    """Decode an image to upright 8-bit RGB.

    EXIF rotation is applied, transparency is blended with white, 16-bit values are scaled, and of an animation the
    first frame is used.

    Raises:
        DataError: the image is missing, empty, truncated, not one of `FORMATS`, or exceeds `MAX_PIXELS` or
            `MAX_ASPECT`.
    """
    source = Path(source) if isinstance(source, str) else source
    name, data = image_name(source), io.BytesIO(image_bytes(source))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MAX_PIXELS is stricter than the limit that Pillow warns about
            with Image.open(data, formats=_decoders()) as image:
                _check_size(name, *image.size)
                return _rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise DataError(f"{name} is not an image that can be read", expected=f"one of {', '.join(FORMATS)}") from None
    except DataError:
        raise
    except Exception as error:  # a broken file can make a decoder raise anything
        raise DataError(f"cannot decode image {name}: {error}") from None


@cache
def _decoders() -> tuple[str, ...]:
    """Those of `FORMATS` that the installed Pillow supports."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def image_name(source: ImageSource) -> str:
    """Where an image is, for messages."""
    return str(source) if isinstance(source, Path) else source.name


def _check_size(name: str, width: int, height: int) -> None:
    size = f"{width} x {height} px"
    if width * height > MAX_PIXELS:
        raise DataError(f"image {name} is too large to be decoded safely", got=size, expected=f"{MAX_PIXELS:,} px")
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
    values = np.asarray(image, dtype=np.float64)  # (height, width)
    if image.mode == "F":
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        values = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / (high - low or 1.0) * 255
    else:
        values = values / 257
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))


def from_text(text: str, base: Path, fetch: bool) -> ImageSource:
    """Find the image that a text in a data set refers to: a URL, a data URI, base64, or a path relative to `base`.

    Args:
        fetch: whether downloads are allowed.

    Raises:
        DataError: the text is a URL but `fetch` is False, or the file does not exist.
    """
    start = text[:11].lower()
    if start.startswith(("http://", "https://")):
        if not fetch:
            raise DataError(f"image {text[:80]} is a URL", remedy="give --fetch-images to download it")
        return EmbeddedImage(text[:200], cache(partial(_download, text)))  # one download, however often it is opened
    if start.startswith("data:image/"):
        return EmbeddedImage("data URI", partial(_decode_base64, text.partition(",")[2]))
    path = base / text if len(text) < 1024 else None
    try:
        if path and path.is_file():
            return path
    except (OSError, ValueError):
        pass
    if len(text) >= 256 and _looks_like_base64(text):
        return EmbeddedImage("base64 text", partial(_decode_base64, text))
    raise DataError("image does not exist", got=str(path or text[:80]))


def _looks_like_base64(text: str) -> bool:
    try:
        _decode_base64("".join(text.splitlines())[:1024])
    except ValueError:
        return False
    return True


def _decode_base64(text: str) -> bytes:
    """Decode base64 text; raises ValueError if it is something else."""
    dense = "".join(text.splitlines())  # some writers wrap lines, and some omit the padding
    return base64.b64decode(dense + "=" * (-len(dense) % 4), validate=True)


def _download(url: str) -> bytes:
    """Download a file; raises OSError if that fails, and ValueError if the file is too large."""
    address = quote(url, safe=string.punctuation)
    # Some sites reject urllib's default agent.
    request = urllib.request.Request(address, headers={"User-Agent": "halfv-probe"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            data: bytes = response.read(MAX_DOWNLOAD + 1)
            missing = response.length
    except HTTPError as error:
        error.close()  # the error keeps the connection open
        raise
    except HTTPException as error:
        raise OSError(f"{type(error).__name__}: {error}") from None
    if len(data) > MAX_DOWNLOAD:
        raise ValueError(f"larger than {MAX_DOWNLOAD:,} bytes")
    if missing:
        raise OSError(f"{missing:,} bytes are missing at its end")
    return data
