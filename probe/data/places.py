"""Where images stand in a prompt: references such as "<image 2>" become words and places for the images.

A place is one character, `IMAGE_PLACE`; the prompt's places take the images in order. Images in front of all text need
no place.
"""

import re
import string
from collections.abc import Callable, Sequence
from typing import NamedTuple

from halfv_core.interleaving import IMAGE_PLACE

MARK = re.compile(
    r"<(?:(?:image|img|image_placeholder|video)(?:[ _]?(\d{1,3}))?|\|(image|video)_pad\|)>"
    r"|<\|vision_(?:start|end)\|>",
    re.IGNORECASE,
)
"""The references to images that data sets write into their texts."""

_FRAME = re.compile(r"<\|vision_(?:start|end)\|>", re.IGNORECASE)
_BLANKS = re.compile(r"[ \t]+")


class Placed(NamedTuple):
    """Texts with places, and the images in the order in which the prompt shows them."""

    texts: tuple[str, ...]
    order: tuple[int, ...]
    """Indices into the row's images: first those in front of all text, then one for each place."""


def place_images(texts: Sequence[str], numbers: Sequence[int]) -> Placed:
    """Turn the references in a prompt's texts into words and places.

    A numbered reference stays as words ("image 2"); the first one to each image is also its place. References without a
    number take the images in order; a single one takes all images, such as the frames of a video. Images that no text
    refers to stand in front.

    Args:
        texts: the parts of the prompt in order.
        numbers: the number by which the texts refer to each image.
    """
    marks = [mark for text in texts for mark in MARK.finditer(text) if not _FRAME.fullmatch(mark[0])]
    referred = {int(mark[1]) for mark in marks if mark[1]}
    free = [index for index, number in enumerate(numbers) if number not in referred]
    share = len(free) if len(marks) == 1 and not referred else 1
    order: list[int] = []

    def shown(mark: re.Match[str]) -> str:
        """The places that the images of a reference take, and the words that stay."""
        if _FRAME.fullmatch(mark[0]):
            return ""
        if mark[1]:
            found = [i for i, number in enumerate(numbers) if number == int(mark[1]) and i not in order][:1]
        else:
            found = free[:share]
            del free[:share]
        order.extend(found)
        return IMAGE_PLACE * len(found) + (f"image {int(mark[1])}" if mark[1] else "")

    placed = [_with_marks_shown(text, shown) for text in texts]
    in_front = [index for index in range(len(numbers)) if index not in order]
    return Placed(_without_leading_places(placed), (*in_front, *order))


def marks_in(text: str) -> int:
    """How many references to images a text has."""
    return sum(not _FRAME.fullmatch(mark[0]) for mark in MARK.finditer(text))


def _with_marks_shown(text: str, shown: Callable[[re.Match[str]], str]) -> str:
    """Replace the references; one that leaves nothing behind becomes a single space."""
    pieces, end = [""], 0
    for mark in MARK.finditer(text):
        pieces.append(text[end : mark.start()])
        end, inserted = mark.end(), shown(mark)
        if not inserted:
            pieces[-1] = pieces[-1].rstrip(" \t")
            blanks = _BLANKS.match(text, end)
            end = blanks.end() if blanks else end
            pieces.append(" ")
            continue
        if mark[1] and pieces[-1][-1:].isalnum():
            inserted = " " + inserted
        pieces.append(inserted + (" " if mark[1] and text[end : end + 1].isalnum() else ""))
    return "".join([*pieces, text[end:]]).strip()


def _without_leading_places(texts: Sequence[str]) -> tuple[str, ...]:
    """The texts without places in front of all words, where images stand anyway."""
    cut = list(texts)
    for index, text in enumerate(texts):
        cut[index] = text.lstrip(IMAGE_PLACE + string.whitespace)
        if cut[index]:
            break
    return tuple(cut)
