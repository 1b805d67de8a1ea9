"""The questions of a conversation: turns as LLaVA, chats, and The Cauldron keep them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from halfv_core.errors import DataError
from probe.data.places import marks_in
from probe.data.values import parsed_list, present, texts_of

Which = Literal["first", "last", "all"]
"""Which questions of a conversation are asked; the last one, and all of them, with everything that was said before."""


class Asked(NamedTuple):
    """A question of a conversation, and its answer."""

    question: str | None
    answers: tuple[str, ...] = ()
    before: tuple[tuple[str, str], ...] = ()
    """Role and text of each turn before it."""
    images: tuple[Any, ...] = ()
    """The images inside the messages up to the question, as stored; the texts have a reference to each."""
    marks: int = 0
    """References to images and videos up to the question."""
    later_marks: int = 0
    """References to them after it."""
    videos: tuple[Any, ...] = ()
    """As `images`."""


class _Turn(NamedTuple):
    speaker: str
    text: str
    images: list[Any]
    videos: list[Any]


def questions_of(conversation: Any, which: Which = "first") -> list[Asked]:
    """Read a conversation: from/value (LLaVA), role/content (chat) or user/assistant (The Cauldron).

    Of what stands before the first question, only system prompts are kept if `which` is `first`.

    Raises:
        DataError: somebody else than system, user and assistant has spoken before the question.
    """
    listed = parsed_list(conversation)
    read = [turn for stored in (listed if isinstance(listed, list | tuple) else ()) for turn in _turns(stored)]
    places = [index for index, turn in enumerate(read) if turn.speaker == "user"]
    if not places:
        return [Asked(None)]
    if which != "all":
        places = places[:1] if which == "first" else places[-1:]
    return [_asked(read, place, is_first_alone=which == "first") for place in places]


def _asked(read: Sequence[_Turn], place: int, is_first_alone: bool) -> Asked:
    before = [turn for turn in read[:place] if turn.speaker == "system" or not is_first_alone]
    if strangers := [turn.speaker for turn in before if turn.speaker not in ("system", "user", "assistant")]:
        raise DataError(
            "somebody else speaks in the conversation", got=repr(strangers[0]), expected="system, user or assistant"
        )
    shown = [*before, read[place]]
    answers = [turn.text for turn in read[place + 1 : place + 2] if turn.speaker == "assistant" and turn.text]
    return Asked(
        question=read[place].text,
        answers=tuple(answers),
        before=tuple((turn.speaker, turn.text) for turn in before),
        images=tuple(image for turn in shown for image in turn.images),
        marks=sum(marks_in(turn.text) for turn in shown),
        later_marks=sum(marks_in(turn.text) for turn in read[place + 1 :] if turn.speaker == "user"),
        videos=tuple(video for turn in shown for video in turn.videos),
    )


_SPEAKERS = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant", "developer": "system"}


def _turns(stored: Any) -> Iterator[_Turn]:
    """The turns that one item of a conversation holds: two, where it is a question with its answer."""
    if not isinstance(stored, Mapping):
        return
    speaker = stored.get("from") or stored.get("role")
    if speaker is None:
        for name in ("user", "assistant"):
            if isinstance(stored.get(name), str):
                yield _Turn(name, stored[name], [], [])
        return
    content = stored.get("value", stored.get("content"))
    parts = parsed_list(content)
    parts = parts if isinstance(parts, list | tuple) and any(isinstance(part, Mapping) for part in parts) else [content]
    texts: list[str] = []
    images: list[Any] = []
    videos: list[Any] = []
    for part in parts:
        if isinstance(part, Mapping) and str(part.get("type")).startswith("video"):
            videos += present([part.get(str(part["type"])) or part.get("path") or part.get("url")])
            texts.append("<video>")
            continue
        image = _image_of(part)
        if image is not None:
            images.append(image)
        if image is not None or (isinstance(part, Mapping) and part.get("type") == "image"):  # or it is in a column
            texts.append("<image>")
        texts += texts_of([part.get("text") if isinstance(part, Mapping) else part])
    name = str(speaker).lower()
    yield _Turn(_SPEAKERS.get(name, name), " ".join(texts), images, videos)


def _image_of(part: Any) -> Any:
    """The image in one part of a chat message; None for text."""
    if not isinstance(part, Mapping):
        return None
    return next(iter(present(part.get(key) for key in ("image", "image_url", "path", "url"))), None)
