"""Turns a row of a data set into the fields of a sample, given what its columns mean."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import takewhile
from typing import Any, NamedTuple

from halfv_core.errors import DataError
from probe.data.answers import Choice, Meaning, choice_letter
from probe.data.choices import read_choices
from probe.data.columns import Columns, image_numbers
from probe.data.images import SUFFIXES, EmbeddedImage
from probe.data.places import place
from probe.data.turns import Asked, Which, questions_of
from probe.data.values import Values, cell, cells, filled, is_blank, parsed_list, present, text_of, texts_of
from probe.data.videos import VIDEO_SUFFIXES

DESCRIBE = "Describe the image in one short sentence."
"""The question for data with captions but no questions."""

DESCRIBE_VIDEO = "Describe the video in one short sentence."
"""The same for videos."""

ASKED_IN_IMAGE = "Answer the multiple choice question in the image."
"""The question for data with choices but no questions, which are in the images themselves (MMMU-Pro)."""

STATEMENT = "{}\nIs this statement true? Answer yes or no."
"""The question for statements about images that are true or false (VSR, NLVR2)."""


class ColumnMeanings(NamedTuple):
    """What was decided by looking at the whole of a column."""

    answers: Mapping[str, Meaning | None] = {}
    """Column of answers -> what they are, for questions with choices."""
    statements: bool = False
    """Whether captions are statements with a truth value, not descriptions."""
    first_image: int = 1
    """The number by which texts refer to the first image of a list."""


class Fields(NamedTuple):
    """The fields of a row, with its images and videos not yet located."""

    id: str | None
    images: tuple[Any, ...]
    """In the order of the prompt: those in front of the text, then one for each place in it."""
    question: str
    choices: tuple[str, ...]
    context: str | None
    instruction: str | None
    answers: tuple[str, ...]
    family: str | None
    turns: tuple[tuple[str, str], ...] = ()
    """Role and text of what was said before."""
    votes: tuple[int, ...] = ()
    """Number of annotators who gave each answer; empty if every answer was given once."""
    videos: tuple[Any, ...] = ()
    """In the order of the prompt; each as `probe.data.videos.find_video` takes it."""


def read_fields(
    values: Values, columns: Columns, meanings: ColumnMeanings | None = None, questions: Which = "first"
) -> list[Fields]:
    """Read the fields of a row, once for each question that it asks.

    Args:
        values: the row.
        columns: which column holds which field.
        meanings: what was decided over the whole data; without it, nothing is known of answers with choices.
        questions: which of a conversation.

    Raises:
        DataError: no question and no caption, no image, invalid choices, or an answer that is none of the choices.
    """
    meanings = meanings or ColumnMeanings()
    conversation = cell(values, columns.conversation)
    if conversation is None or text_of(filled(cell(values, columns.question))) is not None:
        return [_read(values, columns, None, meanings)]
    return [_read(values, columns, asked, meanings) for asked in questions_of(conversation, questions)]


def _read(values: Values, columns: Columns, turn: Asked | None, meanings: ColumnMeanings) -> Fields:
    """Read the fields of one question: of a row, or of the conversation in it."""
    choices = read_choices(values, columns.choices)
    question, answers = _question_and_answers(values, columns, turn, bool(choices.texts), meanings)
    images, numbers = _numbered_images(values, columns, turn, meanings.first_image)
    videos = _videos(values, columns, turn, may_be_numbers=not images)
    if not videos and images and all(isinstance(one, str) and one.lower().endswith(_MOVING) for one in images):
        images, numbers, videos = (), [], images
    if not question:
        raise DataError("no question", got=_named(values))
    if not images and not videos:
        raise DataError("no image", got=_named(values))
    before = turn.before if turn is not None else ()
    parts = [
        *(text for _, text in before),
        text_of(filled(cell(values, columns.context))) or "",
        question,
        *choices.texts,
        text_of(filled(cell(values, columns.instruction))) or "",
    ]
    instructed = len(list(takewhile(lambda turn: turn[0] == "system", before)))  # images stand behind these turns
    placed, image_order, video_order = place(parts[instructed:], numbers, len(videos))
    *said, context, question = (*parts[:instructed], *placed)[: len(before) + 2]
    *texts, instruction = placed[len(before) + 2 - instructed :]
    if not question:
        raise DataError("no question", got=_named(values))
    if choices.texts:
        row = Choice(cells(values, columns.answer), choices)
        answers = choice_letter(row, meanings.answers.get(columns.answer or ""))
    return Fields(
        id=text_of(filled(cell(values, columns.id))),
        images=tuple(images[index] for index in image_order),
        question=question,
        choices=tuple(text or "image" for text in texts),
        context=context or None,
        instruction=instruction or None,
        answers=answers,
        family=text_of(filled(cell(values, columns.family))),
        turns=tuple((role, text) for (role, _), text in zip(before, said, strict=True)),
        votes=() if choices.texts else _votes(answers, cells(values, columns.answer)),
        videos=tuple(videos[index] for index in video_order),
    )


def _named(values: Values) -> str:
    """The columns of a row, for messages."""
    return f"columns {', '.join(map(str, values))}" if values else "no columns"


def _question_and_answers(
    values: Values, columns: Columns, turn: Asked | None, has_choices: bool, meanings: ColumnMeanings
) -> tuple[str | None, tuple[str, ...]]:
    """The question and its reference answers, from columns, a conversation, captions or statements."""
    answers = tuple(text for text, _ in Counter(texts_of(cells(values, columns.answer))).most_common())
    question = text_of(filled(cell(values, columns.question)))
    if question is not None:
        return question, answers
    if turn is not None:
        return turn.question, turn.answers
    if has_choices and not columns.question and not columns.conversation:
        return ASKED_IN_IMAGE, answers
    caption = text_of(cell(values, columns.caption))
    if meanings.statements:
        truth = truth_of(cell(values, columns.answer))
        answers = () if truth is None else ("yes" if truth else "no",)
        return (STATEMENT.format(caption) if caption else None), answers
    if _is_described(values, columns):
        return DESCRIBE_VIDEO if columns.video else DESCRIBE, tuple(texts_of(cells(values, columns.caption)))
    return None, answers


def truth_of(value: Any) -> bool | None:
    """A truth value as tables store it: a boolean, 0 or 1, or one of these as text; None for anything else."""
    if isinstance(value, str):
        return {"0": False, "1": True, "false": False, "true": True}.get(value.strip().lower())
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else None


def _is_described(values: Values, columns: Columns) -> bool:
    """Whether a row is an image or a video with captions, or nothing else."""
    if columns.question or columns.conversation:
        return False
    return bool(columns.caption) or set(values) <= {
        "split",
        columns.id,
        columns.video,
        *(columns.image or "").split(","),
    }


def _numbered_images(
    values: Values, columns: Columns, turn: Asked | None, first: int
) -> tuple[tuple[Any, ...], list[int]]:
    """The images of a row's question, and the numbers by which its texts refer to them."""
    stored = cells(values, columns.image)
    numbers = image_numbers(columns.image, len(stored), first)
    are_numbers = bool(columns.image and columns.image.lower().endswith("id"))
    found = [(image_of(value, are_numbers), number) for value, number in zip(stored, numbers, strict=True)]
    if turn is not None and all(image is None for image, _ in found):
        found = [(image_of(value), number) for number, value in enumerate(turn.images, first)]
    found = [(image, number) for image, number in found if image is not None]
    if turn is not None and turn.later_marks and turn.marks + turn.later_marks == len(found):
        found = found[: turn.marks]  # the others belong to later questions
    return tuple(image for image, _ in found), [number for _, number in found]


_MOVING = tuple(suffix for suffix in VIDEO_SUFFIXES if suffix not in SUFFIXES)
_STILL = tuple(suffix for suffix in SUFFIXES if suffix not in VIDEO_SUFFIXES)


def _videos(values: Values, columns: Columns, turn: Asked | None, may_be_numbers: bool) -> tuple[Any, ...]:
    """The videos of a row's question; a list of images is one video, and any other list one video an item.

    Args:
        values, columns, turn: as above.
        may_be_numbers: whether a number names a video; next to images it is a flag or a count.
    """
    stored = [parsed_list(one) for one in _columns_of(values, columns.video)]
    if not may_be_numbers:
        stored = [one for one in stored if not isinstance(one, int | float)]
    found = [video for one in stored for video in _listed_videos(one)]
    if turn is not None and not found:
        found = [video for one in turn.videos for video in _listed_videos(one)]
    if turn is not None and turn.later_marks and turn.marks + turn.later_marks == len(found):
        found = found[: turn.marks]  # the others belong to later questions
    return tuple(found)


def _columns_of(values: Values, columns: str | None) -> list[Any]:
    """The values of the columns, with lists left as they are."""
    if columns is None or columns in values:
        return [cell(values, columns)]
    return [cell(values, column) for column in columns.split(",")]


def _listed_videos(stored: Any) -> list[Any]:
    if not isinstance(stored, list | tuple):
        one = image_of(stored, may_be_number=True)
        return [] if one is None else [one]
    if any(isinstance(one, list | tuple) for one in stored):
        return [video for one in stored for video in _listed_videos(one)]
    found = [one for one in map(image_of, stored) if one is not None]
    are_frames = all(isinstance(one, EmbeddedImage) or one.lower().endswith(_STILL) for one in found)
    return [tuple(found)] if found and are_frames else found


def image_of(value: Any, may_be_number: bool = False) -> Any:
    """An image or a video as text (path, URL, base64) or `EmbeddedImage`; None if there is none.

    Args:
        value: the stored image, or an object such as {"path": ...}.
        may_be_number: whether a number names an image.

    Raises:
        DataError: the value is none of these.
    """
    if isinstance(value, Mapping):
        keys = ("bytes", "path", "url", "image", "image_url", "video", "video_url", "file_name")
        value = next(iter(present(value.get(key) for key in keys)), None)
    if is_blank(value):
        return None
    if isinstance(value, bytes):
        return EmbeddedImage("image bytes", partial(bytes, value))
    if may_be_number and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str | EmbeddedImage):
        return value
    raise DataError("an image is neither a path nor an image file", got=type(value).__name__)


def _votes(answers: Sequence[str], values: Sequence[Any]) -> tuple[int, ...]:
    """How often each answer was given; empty if the answers are alternatives that were each given once."""
    given = Counter(texts_of(values))
    return tuple(given[answer] for answer in answers) if any(given[answer] > 1 for answer in answers) else ()
