"""Where images stand in a conversation: in front of the first user turn's text, or at places inside the texts."""

from collections.abc import Sequence
from typing import Any

from halfv_core.errors import DataError

IMAGE_PLACE = "\ufffc"
"""Stands for an image inside a prompt's text (Unicode's object replacement character)."""


def in_words(prompt: str) -> str:
    """The prompt for people: the places of images are spelled out."""
    return prompt.replace(IMAGE_PLACE, "[image] ")


def user_content(images: int, question: str) -> list[dict[str, str]]:
    """The parts of a user's turn, as chat templates take them.

    Raises:
        DataError: the question has more places than there are images.
    """
    first, *others = question.split(IMAGE_PLACE)
    in_front = images - len(others)
    if in_front < 0:
        raise DataError("the prompt has places for more images than there are", got=len(others), expected=images)
    content = [{"type": "image"} for _ in range(in_front)] + [{"type": "text", "text": first}]
    for text in others:
        content += [{"type": "image"}, {"type": "text", "text": text}]
    return [part for part in content if part.get("text") != ""] if others else content


def chat_messages(images: int, turns: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """A conversation, as chat templates take it.

    Args:
        images: how many there are. The last ones stand at the places in the texts, in order, and the others in front of
            the first user turn.
        turns: role and text of each.

    Raises:
        DataError: the texts have more places than there are images.
    """
    left = images - sum(text.count(IMAGE_PLACE) for _, text in turns)
    if left < 0:
        raise DataError("the prompt has places for more images than there are", got=images - left, expected=images)
    messages = []
    for role, text in turns:
        in_front, left = (left, 0) if role == "user" else (0, left)
        messages.append({"role": role, "content": user_content(in_front + text.count(IMAGE_PLACE), text)})
    return messages
