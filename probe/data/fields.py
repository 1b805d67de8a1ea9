"""What a row of somebody's data set says: from named values and the meaning of their columns to a sample's fields."""

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
from probe.data.images import Embedded

Values = Mapping[str, Any]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Of choices."""

DESCRIBE = "Describe the image in one short sentence."
"""Asked where there are captions but no questions."""

_IMAGE_MARKS = re.compile(
    r"[ \t]*<(?:(?:image|img|image_placeholder|video)(?:[ _]?\d+)?"
    r"|\|(?:image_pad|video_pad|vision_start|vision_end)\|)>[ \t]*",
    re.IGNORECASE,
)
_NUMBERED_MARKS = re.compile(r"<image[ _]?(\d+)>", re.IGNORECASE)
_LETTER = re.compile(r"\(?([a-z])(?:[.):].*)?", re.IGNORECASE | re.DOTALL)
_HIDDEN_ANSWERS = ("?", "-1")
"""What test splits hold in place of an answer."""


class Fields(NamedTuple):
    """What a row says, before its images are looked for."""

    id: str | None
    images: tuple[Any, ...]
    question: str
    choices: tuple[str, ...]
    context: str | None
    instruction: str | None
    answers: tuple[str, ...]
    family: str | None
    votes: tuple[int, ...] = ()
    """How many annotators gave each of the answers, where any gave the same."""


def unwrapped(values: Values) -> Values:
    """The question of a sample that lmms-eval logged lies in its `doc`, next to what it logged about it."""
    inner = values.get("doc")
    return {**values, **inner} if isinstance(inner, dict) and "question" not in values else values


def read_fields(values: Values, columns: Columns) -> Fields:
    """Take a row apart.

    Raises:
        DataError: no question and no caption, no image, or choices that the answer does not belong to.
    """
    question, answers, images = _asked(values, columns)
    listed = _collected(values, columns.choices)
    choices = _choices(listed)
    if choices:
        stored = next(iter(_present(_collected(values, columns.answer))), None)
        is_index = isinstance(stored, int) and not any(isinstance(choice, int) for choice in listed)
        answers = _letters(answers, choices, is_index)
    return Fields(
        id=_text(_single(values, columns.id)),
        images=images,
        question=question,
        choices=tuple(map(_named_marks, choices)),
        context=_unmarked(_text(_single(values, columns.context))),
        instruction=_unmarked(_text(_single(values, columns.instruction))),
        answers=answers,
        family=_text(_single(values, columns.family)),
        votes=() if choices else _votes(answers, _collected(values, columns.answer)),
    )


def _asked(values: Values, columns: Columns) -> tuple[str, tuple[str, ...], tuple[Any, ...]]:
    """Question, reference answers, images."""
    images = tuple(_pictures(_present(_collected(values, columns.image))))
    answers = _answers(_collected(values, columns.answer))
    question = _text(_single(values, columns.question))
    turns = _single(values, columns.conversation)
    if question is None and turns is not None:
        question, answers, inner = _first_turn(turns)
        images = images or inner
    elif question is None and images and _is_described(values, columns):
        question, answers = DESCRIBE, tuple(_texts(_collected(values, columns.caption)))
    question = _unmarked(question)
    if not question:
        raise DataError("no question")
    if not images:
        raise DataError("no image")
    return question, answers, images


def _is_described(values: Values, columns: Columns) -> bool:
    """Whether a row is a picture with captions, or a picture and nothing else."""
    if columns.question or columns.conversation:
        return False
    return bool(columns.caption) or set(values) <= {columns.id, *(columns.image or "").split(",")}


def _unmarked(text: str | None) -> str | None:
    """Without the marks that stand for images: a model's template puts them where it wants them."""
    return _IMAGE_MARKS.sub(" ", text).strip() or None if text else None


def _named_marks(choice: str) -> str:
    """A choice that is an image is called so."""
    return _unmarked(_NUMBERED_MARKS.sub(r"image \1", choice)) or "image"


def _single(values: Values, column: str | None) -> Any:
    """The value of one column; of a dotted name, what lies inside; None where there is none."""
    if column is None:
        return None
    if column in values:
        return None if _is_missing(values[column]) else values[column]
    value: Any = values
    for part in column.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return None if _is_missing(value) else value


def _collected(values: Values, columns: str | None) -> list[Any]:
    """The values of one column that holds a list, or of several columns."""
    if not columns:
        return []
    if "," in columns and columns not in values:
        return [_single(values, column) for column in columns.split(",")]
    value = _parsed_list(_single(values, columns))
    return list(value) if isinstance(value, list | tuple) else [value]


def _present(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if not _is_missing(value)]


def _parsed_list(value: Any) -> Any:
    """Lists that a table can only hold as text: JSON, or the way that Python or NumPy write them."""
    if not (isinstance(value, str) and value.strip().startswith("[") and value.strip().endswith("]")):
        return value
    for read in (json.loads, _python_list):
        try:
            return read(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return value


def _python_list(text: str) -> Any:
    """Raises ValueError or SyntaxError: it is no list of literals."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # of a backslash in someone's formula
        warnings.simplefilter("ignore", DeprecationWarning)
        found = ast.literal_eval(text)
        tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.string.strip()]
        if any(one.type == two.type == tokenize.STRING for one, two in pairwise(tokens)):  # NumPy writes no commas
            return [ast.literal_eval(token.string) for token in tokens if token.type == tokenize.STRING]
    return found


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _text(value: Any) -> str | None:
    """A value as text: yes and no for truth, whole numbers without a point, the first of a list, an object's text."""
    while isinstance(value, list | tuple | Mapping):
        if isinstance(value, Mapping):
            value = [value.get(key) for key in ("answer", "text", "value", "raw", "content")]
        value = next(iter(_present(value)), None)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if _is_missing(value) or isinstance(value, bytes | Embedded):
        return None
    return str(value).encode(errors="replace").decode().strip() or None  # half an emoji is no text


def _texts(values: Iterable[Any]) -> list[str]:
    return [text for text in map(_text, values) if text is not None]


def _answers(values: Sequence[Any]) -> tuple[str, ...]:
    """Different references, the one that most annotators gave first."""
    return tuple(text for text, _ in Counter(_texts(values)).most_common())


def _votes(answers: Sequence[str], values: Sequence[Any]) -> tuple[int, ...]:
    """How often each of the answers was given; nothing where they are alternatives, each given once."""
    given = Counter(_texts(values))
    return tuple(given[answer] for answer in answers) if any(given[answer] > 1 for answer in answers) else ()


def _choices(values: Sequence[Any]) -> tuple[str, ...]:
    """Choices in the order of their letters, without letters of their own; empty ones at the end are none.

    Raises:
        DataError: only one, an empty one between others, or more than there are letters.
    """
    if len(values) == 1 and isinstance(values[0], Mapping):  # {"A": ..., "B": ...}, or {"text": [...], "label": [...]}
        texts = values[0].get("text")
        values = texts if isinstance(texts, list | tuple) else list(values[0].values())
    found = [_text(value) for value in values]
    while found and found[-1] is None:
        found.pop()
    choices = tuple(choice for choice in found if choice is not None)
    if len(choices) == 1:
        raise DataError("only one choice", got=repr(choices[0][:80]), expected="a list of them")
    if len(choices) < len(found):
        raise DataError("an empty choice between others")
    if len(choices) > len(LETTERS):
        raise DataError("more choices than letters", got=len(choices))
    labels = [re.match(r"\(?([A-Z])[.):]\s*(?=\S)", choice) for choice in choices]
    if all(label and label[1] == letter for label, letter in zip(labels, LETTERS, strict=False)):
        return tuple(choice[label.end() :] for choice, label in zip(choices, labels, strict=True) if label)
    return choices


def _letters(answers: Sequence[str], choices: Sequence[str], is_index: bool) -> tuple[str, ...]:
    """The right choice, which data give as a letter, as the choice itself, or as an index from 0; none if they hide it.

    Args:
        is_index: a number is an index even where a choice reads like it.

    Raises:
        DataError: it is none of these.
    """
    if not answers or answers[0] in _HIDDEN_ANSWERS and answers[0] not in choices:
        return ()
    answer, letters = answers[0], LETTERS[: len(choices)]
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


def _pictures(values: Iterable[Any]) -> list[Any]:
    """Images as text (paths, URLs, base64) or as `Embedded`; {"path": ...}, {"url": ...} and the like are unwrapped.

    Raises:
        DataError: something else.
    """
    found: list[Any] = []
    for value in values:
        if isinstance(value, Mapping):
            value = next(iter(_present(value.get(key) for key in ("bytes", "path", "url", "image", "image_url"))), None)
        if isinstance(value, bytes):
            found.append(Embedded("image bytes", partial(bytes, value)))
        elif isinstance(value, str | Embedded):
            found.append(value)
        elif not _is_missing(value):
            raise DataError("an image is neither a path nor an image file", got=type(value).__name__)
    return found


def _first_turn(turns: Any) -> tuple[str | None, tuple[str, ...], tuple[Any, ...]]:
    """The first question of a conversation and its answer: LLaVA's from/value, or a chat's role/content."""
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
            question, images = text, _pictures(map(_held, parts))
        elif speaker in ("gpt", "assistant", "model") and question is not None:
            return question, tuple(filter(None, [text])), tuple(images)
    return question, (), tuple(images)


def _held(part: Any) -> Any:
    """The image of a part of a chat's message, however that wraps it; None for text."""
    if not isinstance(part, Mapping):
        return None
    return next(iter(_present(part.get(key) for key in ("image", "image_url", "path", "url"))), None)
