"""Where images and videos stand in a conversation: in front of the first user turn's text, or at places inside."""

import re
from collections.abc import Sequence
from typing import Any

from halfv_core.errors import DataError

IMAGE_PLACE = "\ufffc"
"""Stands for an image inside a prompt's text (Unicode's object replacement character)."""

VIDEO_PLACE = "\ufffb"
"""Stands for a video inside a prompt's text."""

_PLACES = {IMAGE_PLACE: "image", VIDEO_PLACE: "video"}


def without_places(text: str) -> str:
    """The text without the characters that stand for images and videos."""
    return text.replace(IMAGE_PLACE, "").replace(VIDEO_PLACE, "")


def has_places(text: str) -> bool:
    """Whether an image or a video has its place in the text."""
    return any(place in text for place in _PLACES)


def in_words(prompt: str) -> str:
    """The prompt for people: the places of images and videos are spelled out."""
    return prompt.replace(IMAGE_PLACE, "[image] ").replace(VIDEO_PLACE, "[video] ")


def user_content(images: int, question: str, videos: int = 0) -> list[dict[str, str]]:
    """The parts of a user's turn, as chat templates take them.

    Args:
        images, videos: how many there are. The last ones of each kind stand at the places in the question, and the
            others in front of it, images first.

    Raises:
        DataError: the question has more places than there are images or videos.
    """
    content = []
    for place, count in ((IMAGE_PLACE, images), (VIDEO_PLACE, videos)):
        in_front = count - question.count(place)
        _check_places(_PLACES[place], question.count(place), count)
        content += [{"type": _PLACES[place]}] * in_front
    if not has_places(question):
        return [*content, {"type": "text", "text": question}]
    for piece in re.split(f"([{''.join(_PLACES)}])", question):
        content.append({"type": _PLACES[piece]} if piece in _PLACES else {"type": "text", "text": piece})
    return [part for part in content if part.get("text") != ""]


def chat_messages(images: int, turns: Sequence[tuple[str, str]], videos: int = 0) -> list[dict[str, Any]]:
    """A conversation, as chat templates take it.

    Args:
        images, videos: how many there are. The last ones of each kind stand at the places in the texts, in order, and
            the others in front of the first user turn.
        turns: role and text of each.

    Raises:
        DataError: the texts have more places than there are images or videos.
    """
    left = {}
    for place, count in ((IMAGE_PLACE, images), (VIDEO_PLACE, videos)):
        placed = sum(text.count(place) for _, text in turns)
        _check_places(_PLACES[place], placed, count)
        left[place] = count - placed
    messages = []
    for role, text in turns:
        counts = {place: text.count(place) + (left.pop(place, 0) if role == "user" else 0) for place in _PLACES}
        messages.append({"role": role, "content": user_content(counts[IMAGE_PLACE], text, counts[VIDEO_PLACE])})
    return messages


def _check_places(kind: str, places: int, count: int) -> None:
    if places > count:
        raise DataError(f"the prompt has places for more {kind}s than there are", got=places, expected=count)
