"""Opening images that come from anywhere: decoded within limits, upright, RGB; never executed, fetched only if asked.

An image of a sample is a `Picture`: a path, or something that gives the bytes of an image file when asked for them.
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
"""What is decoded: pixels only. PostScript, PDF and their kin, which Pillow hands to other programs, are not."""

MAX_PIXELS = 100_000_000
"""Larger pictures are refused before they are decoded: a few bytes of file can hold gigabytes of one colour."""

MAX_ASPECT = 200
"""Longer strips are refused by the image processors of Qwen's family."""

MAX_FILE = 1_000_000_000
"""Bytes of an image file; larger ones are not read."""

MAX_DOWNLOAD = 50_000_000
"""Bytes read from a URL."""

TIMEOUT = 30.0
"""Seconds without an answer after which a download is given up."""


@dataclass(frozen=True)
class Embedded:
    """An image file that lies inside something else: a Parquet column, a saved data set, a base64 string, a URL."""

    name: str
    """Where it is, for messages."""
    read: Callable[[], bytes] = field(repr=False, compare=False)
    """Gives the bytes of the file; raises OSError or ValueError where there are none."""


Picture = Path | Embedded


def image_bytes(picture: Picture) -> bytes:
    """The image file as it is stored.

    Raises:
        DataError: it is not there, or cannot be read.
    """
    try:
        if isinstance(picture, Embedded):
            return picture.read()
        if picture.stat().st_size > MAX_FILE:
            raise ValueError(f"larger than {MAX_FILE:,} bytes")
        return picture.read_bytes()
    except FileNotFoundError:
        raise DataError(f"no image at {name_of(picture)}") from None
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error  # strerror leaves out the path, which is named already
        raise DataError(f"cannot read image {name_of(picture)}: {said}") from None


def open_image(picture: str | Picture) -> Image.Image:
    """Decode to 8-bit RGB, upright: EXIF rotation applied, transparency on white, 16 bits scaled, a film's first frame.

    Raises:
        DataError: missing, not an image of `FORMATS`, cut off, empty, or beyond `MAX_PIXELS` or `MAX_ASPECT`.
    """
    picture = Path(picture) if isinstance(picture, str) else picture
    name, data = name_of(picture), io.BytesIO(image_bytes(picture))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own limit is stricter than the one Pillow warns of
            with Image.open(data, formats=_decoders()) as image:
                _check_size(name, *image.size)
                return _rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise DataError(f"{name} is not an image that can be read", expected=f"one of {', '.join(FORMATS)}") from None
    except DataError:
        raise
    except Exception as error:  # decoders raise whatever a broken file leads them to
        raise DataError(f"cannot decode image {name}: {error}") from None


@cache
def _decoders() -> tuple[str, ...]:
    """Those of `FORMATS` that the installed Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def name_of(picture: Picture) -> str:
    """Where a picture is, for messages."""
    return str(picture) if isinstance(picture, Path) else picture.name


def _check_size(name: str, width: int, height: int) -> None:
    size = f"{width} x {height} px"
    if width * height > MAX_PIXELS:
        raise DataError(f"image {name} is too large to be decoded safely", got=size, expected=f"{MAX_PIXELS:,} px")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise DataError(f"image {name} is too narrow a strip", got=size, expected=f"sides within 1:{MAX_ASPECT}")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        image = _eight_bits(image)
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), layers)
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey values beyond 8 bits: whole numbers are taken as 16-bit, fractions within their own range."""
    values = np.asarray(image, dtype=np.float64)  # (height, width)
    if image.mode == "F":
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        values = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / (high - low or 1.0) * 255
    else:
        values = values / 257
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))


def from_text(text: str, base: Path, fetch: bool) -> Picture:
    """What a data set's text says an image is: a URL, a data URI, bare base64, or a path, relative to `base`.

    Raises:
        DataError: a URL although `fetch` is off, or a file that does not exist.
    """
    kind = text[:11].lower()
    if kind.startswith(("http://", "https://")):
        if not fetch:
            raise DataError(f"image {text[:80]} is a URL", remedy="give --fetch-images to download it")
        return Embedded(text[:200], cache(partial(_download, text)))  # once, however often it is opened
    if kind.startswith("data:image/"):
        return Embedded("data URI", partial(_decoded, text.partition(",")[2]))
    path = base / text if len(text) < 1024 else None
    try:
        if path and path.is_file():
            return path
    except (OSError, ValueError):
        pass
    if len(text) >= 256 and _looks_like_base64(text):
        return Embedded("base64 text", partial(_decoded, text))
    raise DataError("image does not exist", got=str(path or text[:80]))


def _looks_like_base64(text: str) -> bool:
    try:
        _decoded("".join(text.splitlines())[:1024])
    except ValueError:
        return False
    return True


def _decoded(text: str) -> bytes:
    """Raises ValueError: it is not base64."""
    dense = "".join(text.splitlines())  # some writers break it into lines, some leave out the padding
    return base64.b64decode(dense + "=" * (-len(dense) % 4), validate=True)


def _download(url: str) -> bytes:
    """Raises OSError or ValueError: it is not there, or too large."""
    address = quote(url, safe=string.punctuation)
    request = urllib.request.Request(address, headers={"User-Agent": "halfv-probe"})  # some sites answer no one unnamed
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            data: bytes = response.read(MAX_DOWNLOAD + 1)
            missing = response.length
    except HTTPError as error:
        error.close()  # it holds the connection
        raise
    except HTTPException as error:
        raise OSError(f"{type(error).__name__}: {error}") from None
    if len(data) > MAX_DOWNLOAD:
        raise ValueError(f"larger than {MAX_DOWNLOAD:,} bytes")
    if missing:
        raise OSError(f"{missing:,} bytes are missing at its end")
    return data
