"""Images of samples: where they are, and how they are found and opened.

An image of a sample is an `ImageSource`: a path, or an `EmbeddedImage` that reads the bytes of an image file on demand.
What a data set may name is limited to the folders that the user gave, and to public addresses if downloads are allowed.
"""

import base64
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from PIL import Image

from halfv_core.errors import DataError
from probe.data.decoding import MAX_PIXELS, decode
from probe.data.download import download

MAX_FILE = 1_000_000_000
"""Largest image file that is read, bytes."""

MAX_SAMPLE_PIXELS = 200_000_000
"""Largest sum of pixels over the images of one sample, which are all in memory at once."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
"""Usual endings of image files."""

_COCO = ("", "COCO_val2014_", "COCO_train2014_", "COCO_test2015_", "COCO_test2014_")
"""What stands before the number in the file names of COCO's images."""


@dataclass(frozen=True)
class EmbeddedImage:
    """An image or video file that is not on disk: in a Parquet column, a saved data set, base64 text, or at a URL."""

    name: str
    """Where it is, for messages."""
    read: Callable[[], bytes] = field(repr=False, compare=False)
    """Returns the bytes of the file; raises OSError, ValueError or `NamedElsewhere` if it cannot be read."""


ImageSource = Path | EmbeddedImage


class NamedElsewhere(Exception):  # noqa: N818 - no fault
    """Raised by `EmbeddedImage.read` where the data hold the path of a file instead of its bytes."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def image_bytes(source: ImageSource) -> bytes:
    """The bytes of the image file.

    Raises:
        DataError: the file does not exist or cannot be read.
    """
    with reading("image", source):
        if isinstance(source, EmbeddedImage):
            return source.read()
        check_file(source, MAX_FILE)
        return source.read_bytes()


@contextmanager
def reading(what: str, source: ImageSource) -> Iterator[None]:
    """Turn the errors of reading a source into a DataError that names it.

    Args:
        what: image or video, for messages.
        source: what is read.
    """
    try:
        yield
    except NamedElsewhere as elsewhere:
        raise DataError(f"no {what} at {image_name(source)}", got=f"the path {elsewhere.path[:80]}") from None
    except FileNotFoundError:
        raise DataError(f"no {what} at {image_name(source)}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error  # strerror omits the path, which the message has already
        raise DataError(f"cannot read {what} {image_name(source)}: {reason}") from None


def check_file(path: Path, max_size: int) -> None:
    """Raise ValueError for a file that is too large (bytes), and for a pipe or device, which may have no end."""
    status = path.stat()
    if status.st_size > max_size:
        raise ValueError(f"larger than {max_size:,} bytes")
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise ValueError("not a file")


def open_image(source: str | ImageSource, max_pixels: int | None = None) -> Image.Image:
    """Decode an image to upright 8-bit RGB (see `probe.data.decoding.decode`).

    Raises:
        DataError: the image is missing, or cannot be decoded within the limits.
    """
    source = Path(source) if isinstance(source, str) else source
    return decode(image_name(source), image_bytes(source), max_pixels)


def open_images(sources: Sequence[ImageSource], max_pixels: int | None = None) -> list[Image.Image]:
    """Decode the images of a sample.

    Args:
        sources: in order.
        max_pixels: most pixels of all of them together; by default `MAX_SAMPLE_PIXELS`.

    Raises:
        DataError: as `open_image`, or the images have more than `max_pixels` together.
    """
    opened: list[Image.Image] = []
    left = MAX_SAMPLE_PIXELS if max_pixels is None else max_pixels
    for source in sources:
        opened.append(open_image(source, min(left, MAX_PIXELS)))
        left -= opened[-1].width * opened[-1].height
    return opened


def image_name(source: ImageSource) -> str:
    """Where an image is, for messages."""
    return str(source) if isinstance(source, Path) else source.name


def from_text(text: str, base: Path | Sequence[Path], fetch: bool, parents: Sequence[str] = ()) -> ImageSource:
    """Find the image that a text in a data set refers to: a URL, a data URI, base64, or a path.

    Args:
        text: a path may lack its suffix, and may be the number of one of COCO's images.
        base: the folder that paths start from and that files must be in; of several, the first one, and what lies in
            another one is found by its absolute path.
        fetch: whether downloads are allowed.
        parents: folders inside `base` that the file may be in, such as the row's id.

    Raises:
        DataError: the text is a URL but `fetch` is False, or the file does not exist or is in none of the folders.
    """
    start = text[:11].lower()
    if start.startswith(("http://", "https://")):
        if not fetch:
            raise DataError(f"image {text[:80]} is a URL", remedy="give --fetch-images to download it")
        return EmbeddedImage(text[:200], partial(download, text))
    if start.startswith("data:image/"):
        return from_data_url(text)
    folders = [base] if isinstance(base, Path) else list(base)
    if found := find_file(text, folders, parents):
        return found
    if len(text) >= 256 and _looks_like_base64(text):
        return EmbeddedImage("base64 text", partial(_decode_base64, text))
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise DataError("image does not exist", got=text[:80], expected="a file, or an http or https address")
    shown = folders[0] / text if folders and len(text) < 1024 else text[:80]
    raise DataError("image does not exist", got=str(shown))


def from_data_url(text: str) -> EmbeddedImage:
    """The image or video in a data URL, base64."""
    return EmbeddedImage("data URI", partial(_decode_base64, text.partition(",")[2]))


def resolved(image: EmbeddedImage, base: Sequence[Path], fetch: bool) -> EmbeddedImage:
    """The image, with a path that stands in place of its bytes looked for in these folders."""
    return with_paths_found(image, lambda path: image_bytes(from_text(path, base, fetch)), "image")


def with_paths_found(source: EmbeddedImage, find: Callable[[str], bytes], what: str) -> EmbeddedImage:
    """The source, whose bytes are found by their path where the data hold that in their place."""

    def read() -> bytes:
        try:
            return source.read()
        except NamedElsewhere as elsewhere:
            try:
                return find(elsewhere.path)
            except DataError as error:
                raise DataError(f"no {what} at {source.name}: {error}") from None

    return EmbeddedImage(source.name, read)


def find_file(
    text: str,
    folders: Sequence[Path],
    parents: Sequence[str] = (),
    *,
    what: str = "image",
    suffixes: tuple[str, ...] = SUFFIXES,
    is_there: Callable[[Path], bool] = Path.is_file,
) -> Path | None:
    """The first file of that name in the folders.

    Args:
        text: a path, as in `from_text`.
        folders: where paths start from, and where the file must be.
        parents: folders inside of these that the file may be in.
        what: image or video, for messages.
        suffixes: endings that the text may lack.
        is_there: whether a path is what is looked for.

    Raises:
        DataError: there is one, but outside the folders; it may be reached by a link, "..", or an absolute path.
    """
    if len(text) >= 1024:
        return None
    outside = None
    for path, allowed in _candidates(text, folders, parents, suffixes):
        try:
            if not is_there(path):
                continue
            real = path.resolve()
            if any(real.is_relative_to(folder.resolve()) for folder in allowed):
                return path
        except (OSError, ValueError, RuntimeError):  # no name for a file, or links in a circle
            continue
        outside = outside or (path if allowed == folders else None)
    if outside:
        raise DataError(
            f"{what} {str(outside)[:200]} is outside the folder of the data",
            remedy=f"give --images with a folder that contains it, such as {str(outside.resolve().parent)[:200]}",
        )
    return None


def _candidates(
    text: str, folders: Sequence[Path], parents: Sequence[str], suffixes: tuple[str, ...]
) -> Iterator[tuple[Path, Sequence[Path]]]:
    """Paths where a file may be, most likely first, with the folders that it has to be in.

    What starts from a further folder has to be in the first one, such as a link into it.
    """
    text = text.replace("\\", "/")  # as Windows writes paths
    names = [text, *(text + suffix for suffix in suffixes if not text.lower().endswith(suffixes))]
    if suffixes is SUFFIXES and re.fullmatch(r"[0-9]{1,12}", text):
        names += [f"{prefix}{int(text):012}.jpg" for prefix in _COCO]
    for number, folder in enumerate(folders):
        for name in filter(None, names):
            for parent in ("", *parents):
                yield folder / parent / name, folders[:1] if number else folders


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
