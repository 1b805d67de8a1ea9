"""Turns a row of a data set into the fields of a sample, given what its columns mean."""

import ast
import io
import json
import math
import re
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

from halfv_core.errors import DataError
from probe.data.columns import Columns
from probe.data.images import EmbeddedImage

Values = Mapping[str, Any]
"""Column -> value, for one row."""

CHOICE_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""The letters that label the choices of a question, in order."""

DESCRIBE = "Describe the image in one short sentence."
"""The question for data with captions but no questions."""

_IMAGE_MARKS = re.compile(
    r"[ \t]*<(?:(?:image|img|image_placeholder|video)(?:[ _]?\d+)?"
    r"|\|(?:image_pad|video_pad|vision_start|vision_end)\|)>[ \t]*",
    re.IGNORECASE,
)
_NUMBERED_MARKS = re.compile(r"<image[ _]?(\d+)>", re.IGNORECASE)
_LETTER = re.compile(r"\(?([a-z])(?:[.):].*)?", re.IGNORECASE | re.DOTALL)
_HIDDEN_ANSWERS = ("?", "-1")
"""Placeholders that test splits hold instead of an answer."""


class Fields(NamedTuple):
    """The fields of a row, with its images not yet located."""

    id: str | None
    images: tuple[Any, ...]
    question: str
    choices: tuple[str, ...]
    context: str | None
    instruction: str | None
    answers: tuple[str, ...]
    family: str | None
    votes: tuple[int, ...] = ()
    """Number of annotators who gave each answer; empty if every answer was given once."""


def unwrap_doc(values: Values) -> Values:
    """Add the fields of `doc` to the row: in lmms-eval's logs it holds the question, next to the logged results."""
    inner = values.get("doc")
    return {**values, **inner} if isinstance(inner, dict) and "question" not in values else values


def read_fields(values: Values, columns: Columns) -> Fields:
    """Read the fields of a row.

    Raises:
        DataError: no question and no caption, no image, invalid choices, or an answer that is none of the choices.
    """
    question, answers, images = _question_answers_images(values, columns)
    listed = _cells(values, columns.choices)
    choices = _choices(listed)
    if choices:
        stored = next(iter(_present(_cells(values, columns.answer))), None)
        is_index = isinstance(stored, int) and not any(isinstance(choice, int) for choice in listed)
        answers = _choice_letter(answers, choices, is_index)
    return Fields(
        id=_text(_cell(values, columns.id)),
        images=images,
        question=question,
        choices=tuple(map(_name_image_marks, choices)),
        context=_without_image_marks(_text(_cell(values, columns.context))),
        instruction=_without_image_marks(_text(_cell(values, columns.instruction))),
        answers=answers,
        family=_text(_cell(values, columns.family)),
        votes=() if choices else _votes(answers, _cells(values, columns.answer)),
    )


def _question_answers_images(values: Values, columns: Columns) -> tuple[str, tuple[str, ...], tuple[Any, ...]]:
    """The question, its reference answers and its images, from columns, a conversation or captions."""
    images = tuple(_images(_present(_cells(values, columns.image))))
    answers = _answers(_cells(values, columns.answer))
    question = _text(_cell(values, columns.question))
    turns = _cell(values, columns.conversation)
    if question is None and turns is not None:
        question, answers, inner = _first_turn(turns)
        images = images or inner
    elif question is None and images and _is_described(values, columns):
        question, answers = DESCRIBE, tuple(_texts(_cells(values, columns.caption)))
    question = _without_image_marks(question)
    if not question:
        raise DataError("no question")
    if not images:
        raise DataError("no image")
    return question, answers, images


def _is_described(values: Values, columns: Columns) -> bool:
    """Whether a row is an image with captions, or an image and nothing else."""
    if columns.question or columns.conversation:
        return False
    return bool(columns.caption) or set(values) <= {columns.id, *(columns.image or "").split(",")}


def _without_image_marks(text: str | None) -> str | None:
    """The text without image placeholders, which the model's own template inserts."""
    return _IMAGE_MARKS.sub(" ", text).strip() or None if text else None


def _name_image_marks(choice: str) -> str:
    """A choice with its image placeholders replaced by words, such as "image 2"."""
    return _without_image_marks(_NUMBERED_MARKS.sub(r"image \1", choice)) or "image"


def _cell(values: Values, column: str | None) -> Any:
    """The value of one column, or the nested value that a dotted name points to; None if it is missing."""
    if column is None:
        return None
    if column in values:
        return None if _is_missing(values[column]) else values[column]
    value: Any = values
    for part in column.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return None if _is_missing(value) else value


def _cells(values: Values, columns: str | None) -> list[Any]:
    """The values of several columns, or the items of one column that holds a list."""
    if not columns:
        return []
    if "," in columns and columns not in values:
        return [_cell(values, column) for column in columns.split(",")]
    value = _parsed_list(_cell(values, columns))
    return list(value) if isinstance(value, list | tuple) else [value]


def _present(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if not _is_missing(value)]


def _parsed_list(value: Any) -> Any:
    """Parse a list that a table stores as text, as JSON or as Python or NumPy print it; anything else is unchanged."""
    if not (isinstance(value, str) and value.strip().startswith("[") and value.strip().endswith("]")):
        return value
    for read in (json.loads, _python_list):
        try:
            return read(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return value


def _python_list(text: str) -> Any:
    """Parse a list of literals; raises ValueError or SyntaxError if the text is not one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # caused by backslashes in formulas
        warnings.simplefilter("ignore", DeprecationWarning)
        parsed = ast.literal_eval(text)
        tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.string.strip()]
        if any(one.type == two.type == tokenize.STRING for one, two in pairwise(tokens)):  # NumPy prints no commas
            return [ast.literal_eval(token.string) for token in tokens if token.type == tokenize.STRING]
    return parsed


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _text(value: Any) -> str | None:
    """A value as text: booleans as yes or no, whole numbers without a decimal point, the first item of a list."""
    while isinstance(value, list | tuple | Mapping):
        if isinstance(value, Mapping):
            value = [value.get(key) for key in ("answer", "text", "value", "raw", "content")]
        value = next(iter(_present(value)), None)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if _is_missing(value) or isinstance(value, bytes | EmbeddedImage):
        return None
    return str(value).encode(errors="replace").decode().strip() or None  # lone surrogates cannot be encoded


def _texts(values: Iterable[Any]) -> list[str]:
    return [text for text in map(_text, values) if text is not None]


def _answers(values: Sequence[Any]) -> tuple[str, ...]:
    """The distinct reference answers, most frequent first."""
    return tuple(text for text, _ in Counter(_texts(values)).most_common())


def _votes(answers: Sequence[str], values: Sequence[Any]) -> tuple[int, ...]:
    """How often each answer was given; empty if the answers are alternatives that were each given once."""
    given = Counter(_texts(values))
    return tuple(given[answer] for answer in answers) if any(given[answer] > 1 for answer in answers) else ()


def _choices(values: Sequence[Any]) -> tuple[str, ...]:
    """The choices in order, without letters in front of them and without empty ones at the end.

    Raises:
        DataError: only one choice, an empty one between others, or more choices than letters.
    """
    if len(values) == 1 and isinstance(values[0], Mapping):  # {"A": ..., "B": ...}, or {"text": [...], "label": [...]}
        listed = values[0].get("text")
        values = listed if isinstance(listed, list | tuple) else list(values[0].values())
    texts = [_text(value) for value in values]
    while texts and texts[-1] is None:
        texts.pop()
    choices = tuple(choice for choice in texts if choice is not None)
    if len(choices) == 1:
        raise DataError("only one choice", got=repr(choices[0][:80]), expected="a list of them")
    if len(choices) < len(texts):
        raise DataError("an empty choice between others")
    if len(choices) > len(CHOICE_LETTERS):
        raise DataError("more choices than letters", got=len(choices))
    labels = [re.match(r"\(?([A-Z])[.):]\s*(?=\S)", choice) for choice in choices]
    if all(label and label[1] == letter for label, letter in zip(labels, CHOICE_LETTERS, strict=False)):
        return tuple(choice[label.end() :] for choice, label in zip(choices, labels, strict=True) if label)
    return choices


def _choice_letter(answers: Sequence[str], choices: Sequence[str], is_index: bool) -> tuple[str, ...]:
    """The letter of the right choice, as a tuple; empty if the data hide it.

    The data may give it as a letter, as the text of the choice, or as an index from 0.

    Args:
        is_index: treat a number as an index even if it is also the text of a choice.

    Raises:
        DataError: the answer is none of these.
    """
    if not answers or answers[0] in _HIDDEN_ANSWERS and answers[0] not in choices:
        return ()
    answer, letters = answers[0], CHOICE_LETTERS[: len(choices)]
    index = int(answer) if answer.isdecimal() and len(answer) <= 2 else len(choices)
    lettered = _LETTER.fullmatch(answer)
    if index < len(choices) and (is_index or answer not in choices):
        return (letters[index],)
    if answer in choices:
        return (letters[choices.index(answer)],)
    if lettered and lettered[1].upper() in letters:
        return (lettered[1].upper(),)
    raise DataError(
        "the answer is none of the choices", got=repr(answer[:80]), expected=f"one of {', '.join(choices)}"[:200]
    )


def _images(values: Iterable[Any]) -> list[Any]:
    """Images as text (path, URL, base64) or `EmbeddedImage`, unwrapped from objects such as {"path": ...}.

    Raises:
        DataError: a value is neither.
    """
    images: list[Any] = []
    for value in values:
        if isinstance(value, Mapping):
            value = next(iter(_present(value.get(key) for key in ("bytes", "path", "url", "image", "image_url"))), None)
        if isinstance(value, bytes):
            images.append(EmbeddedImage("image bytes", partial(bytes, value)))
        elif isinstance(value, str | EmbeddedImage):
            images.append(value)
        elif not _is_missing(value):
            raise DataError("an image is neither a path nor an image file", got=type(value).__name__)
    return images


def _first_turn(turns: Any) -> tuple[str | None, tuple[str, ...], tuple[Any, ...]]:
    """The first question of a conversation, its answer and its images; from/value (LLaVA) or role/content (chat)."""
    question, images = None, []
    turns = _parsed_list(turns)
    for turn in turns if isinstance(turns, list | tuple) else ():
        if not isinstance(turn, Mapping):
            continue
        speaker = str(turn.get("from") or turn.get("role") or "").lower()
        content = turn.get("value", turn.get("content"))
        parts = content if isinstance(content, list | tuple) else [{"text": content}]
        text = " ".join(_texts(part.get("text") if isinstance(part, Mapping) else part for part in parts))
        if speaker in ("human", "user") and question is None:
            question, images = text, _images(map(_image_of, parts))
        elif speaker in ("gpt", "assistant", "model") and question is not None:
            return question, tuple(filter(None, [text])), tuple(images)
    return question, (), tuple(images)


def _image_of(part: Any) -> Any:
    """The image in one part of a chat message; None for text."""
    if not isinstance(part, Mapping):
        return None
    return next(iter(_present(part.get(key) for key in ("image", "image_url", "path", "url"))), None)
