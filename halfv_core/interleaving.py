"""Where images stand in a user's turn: in front of its text, or at places inside it."""

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
        raise DataError("the question has places for more images than there are", got=len(others), expected=images)
    content = [{"type": "image"} for _ in range(in_front)] + [{"type": "text", "text": first}]
    for text in others:
        content += [{"type": "image"}, {"type": "text", "text": text}]
    return [part for part in content if part.get("text") != ""] if others else content
