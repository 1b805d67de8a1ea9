"""Where images and videos stand in a prompt: references such as "<image 2>" become words and places.

A place is one character, `IMAGE_PLACE` or `VIDEO_PLACE`; a prompt's places take the images, or the videos, in order.
What stands in front of all text needs no place.
"""

import re
import string
from collections.abc import Callable, Sequence
from typing import NamedTuple

from halfv_core.interleaving import IMAGE_PLACE, VIDEO_PLACE

MARK = re.compile(
    r"<(?:(?:image|img|image_placeholder|video)(?:[ _]?(\d{1,3}))?|\|(image|video)_pad\|)>"
    r"|<\|vision_(?:start|end)\|>",
    re.IGNORECASE,
)
"""The references to images and videos that data sets write into their texts."""

_VIDEO = re.compile(r"<\|?video", re.IGNORECASE)
_FRAME = re.compile(r"<\|vision_(?:start|end)\|>", re.IGNORECASE)
_BLANKS = re.compile(r"[ \t]+")


class Placed(NamedTuple):
    """Texts with places, and the images and videos in the order in which the prompt shows them."""

    texts: tuple[str, ...]
    images: tuple[int, ...]
    """Indices into the row's images: first those in front of all text, then one for each place."""
    videos: tuple[int, ...] = ()
    """Likewise of the row's videos."""


def place(texts: Sequence[str], numbers: Sequence[int], videos: int = 0) -> Placed:
    """Turn the references in a prompt's texts into words and places.

    A numbered reference stays as words ("image 2"); the first one to each image is also its place. References without a
    number take the images in order; a single one takes all images, such as the frames of a video. What no text refers
    to stands in front. If a row has images alone, or videos alone, all references are to them.

    Args:
        texts: the parts of the prompt in order.
        numbers: the number by which the texts refer to each image.
        videos: how many videos there are; texts number them from 1.
    """
    shown = list(texts)
    order: tuple[int, ...] = ()
    if videos:
        are_videos = _is_to_video if numbers else _is_to_any
        shown, order = _placed(texts, range(1, videos + 1), are_videos, VIDEO_PLACE, "video")
    shown, images = _placed(shown, numbers, _is_to_any, IMAGE_PLACE, "image")
    return Placed(_without_leading_places(shown), images, order)


def _is_to_any(mark: re.Match[str]) -> bool:
    return True


def _is_to_video(mark: re.Match[str]) -> bool:
    return bool(_VIDEO.match(mark[0]))


def _placed(
    texts: Sequence[str], numbers: Sequence[int], selects: Callable[[re.Match[str]], bool], place: str, word: str
) -> tuple[list[str], tuple[int, ...]]:
    """The texts with places for one kind of thing, and the order of the things.

    Args:
        numbers: the number by which the texts refer to each.
        selects: whether a reference is to this kind.
        place, word: what stands for one of them.
    """
    found_marks = [mark for text in texts for mark in MARK.finditer(text) if selects(mark)]
    marks = [mark for mark in found_marks if not _FRAME.fullmatch(mark[0])]
    referred = {int(mark[1]) for mark in marks if mark[1]}
    free = [index for index, number in enumerate(numbers) if number not in referred]
    share = len(free) if len(marks) == 1 and not referred else 1
    order: list[int] = []

    def shown(mark: re.Match[str]) -> str:
        """The places that a reference takes, and the words that stay."""
        if _FRAME.fullmatch(mark[0]):
            return ""
        if mark[1]:
            found = [i for i, number in enumerate(numbers) if number == int(mark[1]) and i not in order][:1]
        else:
            found = free[:share]
            del free[:share]
        order.extend(found)
        return place * len(found) + (f"{word} {int(mark[1])}" if mark[1] else "")

    placed = [_with_marks_shown(text, selects, shown) for text in texts]
    in_front = [index for index in range(len(numbers)) if index not in order]
    return placed, (*in_front, *order)


def marks_in(text: str) -> int:
    """How many references to images and videos a text has."""
    return sum(not _FRAME.fullmatch(mark[0]) for mark in MARK.finditer(text))


def _with_marks_shown(
    text: str, selects: Callable[[re.Match[str]], bool], shown: Callable[[re.Match[str]], str]
) -> str:
    """Replace the selected references; one that leaves nothing behind becomes a single space."""
    pieces, end = [""], 0
    for mark in filter(selects, MARK.finditer(text)):
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
    """The texts without places in front of all words, where images stand anyway, and videos behind them."""
    cut = list(texts)
    for index, text in enumerate(texts):
        cut[index] = text.lstrip(IMAGE_PLACE + VIDEO_PLACE + string.whitespace)
        leading = text[: len(text) - len(cut[index])]
        if VIDEO_PLACE in leading and IMAGE_PLACE in leading[leading.index(VIDEO_PLACE) :]:
            return tuple(texts)
        if cut[index]:
            break
    return tuple(cut)
