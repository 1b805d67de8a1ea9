"""The first question of a conversation: turns as LLaVA, chats, and The Cauldron keep them."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from probe.data.places import marks_in
from probe.data.values import parsed_list, present, texts_of


class FirstTurn(NamedTuple):
    """The first question of a conversation and its answer."""

    question: str | None
    answers: tuple[str, ...] = ()
    images: tuple[Any, ...] = ()
    """The images inside the question, as stored; the question has a reference to each."""
    marks: int = 0
    """References to images in the question."""
    later_marks: int = 0
    """References to images in the questions after it."""


class _Turn(NamedTuple):
    speaker: str
    text: str
    images: list[Any]


def first_turn(turns: Any) -> FirstTurn:
    """Read the first question: from/value (LLaVA), role/content (chat) or user/assistant (The Cauldron).

    A turn before it that is none of the user's, such as a system prompt, is left out.
    """
    listed = parsed_list(turns)
    read = [turn for stored in (listed if isinstance(listed, list | tuple) else ()) for turn in _turns(stored)]
    start = next((index for index, turn in enumerate(read) if turn.speaker == "user"), None)
    if start is None:
        return FirstTurn(None)
    question = read[start]
    answer = next((turn.text for turn in read[start + 1 :] if turn.speaker == "assistant"), "")
    later = sum(marks_in(turn.text) for turn in read[start + 1 :] if turn.speaker == "user")
    return FirstTurn(
        question.text, tuple(filter(None, [answer])), tuple(question.images), marks_in(question.text), later
    )


_SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "model": "assistant"}


def _turns(stored: Any) -> Iterator[_Turn]:
    """The turns that one item of a conversation holds: two, where it is a question with its answer."""
    if not isinstance(stored, Mapping):
        return
    speaker = stored.get("from") or stored.get("role")
    if speaker is None:
        for name in ("user", "assistant"):
            if isinstance(stored.get(name), str):
                yield _Turn(name, stored[name], [])
        return
    content = stored.get("value", stored.get("content"))
    parts = parsed_list(content)
    parts = parts if isinstance(parts, list | tuple) and any(isinstance(part, Mapping) for part in parts) else [content]
    texts: list[str] = []
    images: list[Any] = []
    for part in parts:
        image = _image_of(part)
        if image is not None:
            images.append(image)
        if image is not None or (isinstance(part, Mapping) and part.get("type") == "image"):  # or it is in a column
            texts.append("<image>")
        texts += texts_of([part.get("text") if isinstance(part, Mapping) else part])
    yield _Turn(_SPEAKERS.get(str(speaker).lower(), ""), " ".join(texts), images)


def _image_of(part: Any) -> Any:
    """The image in one part of a chat message; None for text."""
    if not isinstance(part, Mapping):
        return None
    return next(iter(present(part.get(key) for key in ("image", "image_url", "path", "url"))), None)
