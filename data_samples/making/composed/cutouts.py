"""Folders of cut-outs: PNG files with transparency, each with a caption.

The caption of a picture is the first line of the text file beside it. In folders without text files it is the title
that the picture's metadata give, or else its name. Cut-outs are grouped by what they show, since some captions have
dozens of pictures.
"""

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from data_samples.making.composed.captions import content_words, from_name, from_sentence
from halfv_core.errors import DataError

SMALLEST = 48
"""Pixels that the longer side of what is opaque needs."""
MAX_ASPECT = 6
MAX_PIXELS = 16_000_000
TITLES_OF_COLLECTIONS = 20
"""A title that more pictures than this have is that of their collection."""
HELD_OUT = 10
"""One caption in this many is never trained on."""
FEWEST = 6
"""Captions that trained and held-out pictures need each."""


class Kind(NamedTuple):
    """What cut-outs show, and its pictures."""

    caption: str
    words: frozenset[str]
    """Of the caption."""
    groups: frozenset[str]
    """Words of the folders that the pictures lie in, which may name them, too: birds/penguin.png."""
    pictures: tuple[Path, ...]

    @property
    def held_out(self) -> bool:
        return int.from_bytes(hashlib.sha256(self.caption.encode()).digest()[:8], "big") % HELD_OUT == 0


def confusable(one: Kind, other: Kind) -> bool:
    """Whether the caption of one may also be right for the other, as far as words tell: "bird" and "bluebird"."""
    return _names(one.words, other.words | other.groups) or _names(other.words, one.words | one.groups)


def _names(words: frozenset[str], others: frozenset[str]) -> bool:
    if words & others:
        return True
    return any(min(len(a), len(b)) > 2 and (a in b or b in a) for a in words for b in others)


@dataclass(frozen=True)
class Cutouts:
    """All usable cut-outs of some folders."""

    trained: tuple[Kind, ...]
    """By caption, as in `held_out`."""
    held_out: tuple[Kind, ...]
    skipped: dict[str, int]
    """Reason -> number of pictures."""
    sha256: str
    """Of captions, places in the folders, and contents of the pictures that are used."""

    def __str__(self) -> str:
        pictures = sum(len(kind.pictures) for kind in (*self.trained, *self.held_out))
        skipped = ", ".join(f"{count} {reason}" for reason, count in sorted(self.skipped.items()))
        return (
            f"{pictures} cut-outs with {len(self.trained) + len(self.held_out)} captions, "
            f"{len(self.held_out)} of them held out; skipped: {skipped or 'none'}"
        )


class _Found(NamedTuple):
    caption: str
    place: str
    """Path below the folder, and the folder's own name."""
    path: Path


def read_cutouts(folders: Sequence[Path]) -> Cutouts:
    """Read folders and their subfolders.

    Raises:
        DataError: a folder does not exist, or there are too few cut-outs in all.
    """
    skipped: Counter[str] = Counter()
    found: list[_Found] = []
    for folder in folders:
        if not folder.is_dir():
            raise DataError("--cutouts does not exist", got=str(folder), expected="a folder of PNG files")
        found += _captioned(folder.resolve(), skipped)
    digest = hashlib.sha256()
    pictures: dict[str, list[_Found]] = {}
    for one in sorted(found, key=lambda one: (one.caption, one.place)):
        for part in (one.caption.encode(), one.place.encode(), one.path.read_bytes()):
            digest.update(hashlib.sha256(part).digest())
        pictures.setdefault(one.caption, []).append(one)
    kinds = [_kind(caption, group) for caption, group in pictures.items()]
    trained, held_out = (tuple(kind for kind in kinds if kind.held_out == held) for held in (False, True))
    cutouts = Cutouts(trained, held_out, dict(skipped), digest.hexdigest())
    if min(len(trained), len(held_out)) < FEWEST:
        raise DataError(
            "too few cut-outs",
            got=cutouts,
            expected=f"at least {FEWEST} captions that are trained on and {FEWEST} that are held out",
            remedy="give more --cutouts",
        )
    return cutouts


def opened(path: Path) -> Image.Image:
    """What is opaque of a cut-out, RGBA; empty if nothing is."""
    with Image.open(path) as file:
        image = file.convert("RGBA")
    return image.crop(image.getchannel("A").point(lambda alpha: 255 * (alpha > 32)).getbbox() or (0, 0, 0, 0))


def _kind(caption: str, found: list[_Found]) -> Kind:
    groups = content_words(part for one in found for part in Path(one.place).parts[:-1])
    return Kind(caption, content_words([caption]), groups, tuple(one.path for one in found))


def _captioned(folder: Path, skipped: Counter[str]) -> Iterator[_Found]:
    """The usable pictures of a folder; the others are counted."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".png" and path.is_file())
    titles: dict[Path, str | None] = {}
    for path in paths:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                titles[path] = _title(path)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            skipped["too large"] += 1
        except (OSError, SyntaxError, ValueError):  # what Pillow raises for damaged files
            skipped["damaged"] += 1
    shared = Counter(titles.values())
    with_texts = {path.parent for path in folder.rglob("*.txt")}
    for path, title in titles.items():
        if path.parent in with_texts:
            caption = _text_beside(path)
        else:
            caption = from_name(title if title and shared[title] <= TITLES_OF_COLLECTIONS else path.stem)
        reason = _unusable(path) if caption else "without a caption that is a short noun phrase"
        if caption and not reason:
            yield _Found(caption, path.relative_to(folder.parent).as_posix(), path)
        else:
            skipped[str(reason)] += 1


def _title(path: Path) -> str | None:
    with Image.open(path) as image:
        title = image.info.get("Title")
    return str(title) if title else None


def _text_beside(path: Path) -> str | None:
    beside = path.with_suffix(".txt")
    if not beside.is_file():
        return None
    lines = beside.read_text(encoding="utf-8", errors="replace").splitlines()
    return from_sentence(lines[0]) if lines else None


def _unusable(path: Path) -> str | None:
    """Why a picture cannot be put on a background, if it cannot."""
    try:
        with Image.open(path) as image:
            if not image.has_transparency_data:
                return "without transparency"
            if image.width * image.height > MAX_PIXELS:
                return "too large"
        shown = opened(path)
    except (OSError, SyntaxError, ValueError):
        return "damaged"
    longer, shorter = max(shown.size), min(shown.size)
    if longer < SMALLEST:
        return "too small"
    if longer > MAX_ASPECT * shorter:
        return "too thin"
    least, _ = shown.resize((16, 16), Image.Resampling.BOX).getchannel("A").getextrema()
    return "without transparency" if least == 255 else None
