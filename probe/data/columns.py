"""What the columns of somebody's data set mean: which of them holds which field of a sample.

Columns are named by the user (`Columns(question="prompt")`) or guessed, row by row, from the names that common visual
question answering data use. Understood without a word: question with answer or answers (VQA, GQA, DocVQA, TextVQA,
ChartQA ...), choices as a list or as columns A, B, C, D (ScienceQA, AI2D, MMMU, MMBench, SEED-Bench ...), conversations
(LLaVA) and messages (chat), samples logged with a `doc` (lmms-eval), and images with captions.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache

from pydantic import BaseModel, ConfigDict

from halfv_core.errors import DataError

GUESSES: dict[str, tuple[str, ...]] = {
    "id": ("id", "question_id", "questionid", "qid", "sample_id", "index", "doc_id", "uid"),
    "image": (
        *("images", "image", "image_path", "image_file", "file_name", "filename", "img", "img_path", "picture"),
        *("image_url", "url"),
    ),
    "question": ("question", "query", "prompt", "instruction", "problem"),
    "answer": (
        *("answer", "answers", "multiple_choice_answer", "gt_answer", "ground_truth", "label", "labels", "target"),
        *("response", "solution", "output"),
    ),
    "choices": ("choices", "options", "multiple_choices", "candidates"),
    "family": ("family", "category", "question_type", "question_types", "answer_type", "task", "type", "topic"),
    "context": ("context", "hint"),
    "instruction": ("instruction", "post_prompt"),
    "caption": ("caption", "captions", "text", "sentences", "sentence", "description"),
    "conversation": ("conversations", "conversation", "messages"),
}
"""Field -> column names that it goes by, likeliest first; compared without regard to case."""

_NUMBERED_IMAGES = re.compile(r"image_?\d+", re.IGNORECASE)
_LETTER_COLUMNS = re.compile(r"(?:choice_|option_|option|choice)?([a-h])", re.IGNORECASE)


class Columns(BaseModel):
    """Field of a sample -> column that holds it, several joined by commas, inner values by dots (`doc.question`).

    None stands for a guess, "" for a field that the data do not have.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str | None = None
    image: str | None = None
    question: str | None = None
    answer: str | None = None
    choices: str | None = None
    family: str | None = None
    context: str | None = None
    instruction: str | None = None
    caption: str | None = None
    conversation: str | None = None

    @classmethod
    def from_pairs(cls, pairs: Iterable[str]) -> "Columns":
        """From `FIELD=COLUMN` pairs; `FIELD=` for a field that the data do not have.

        Raises:
            DataError: another form, or a field that samples do not have.
        """
        expected = f"FIELD=COLUMN with a field of {', '.join(cls.model_fields)}"
        found: dict[str, str] = {}
        for pair in pairs:
            field, equals, column = pair.partition("=")
            if not equals or field not in cls.model_fields:
                raise DataError("bad --column", got=repr(pair), expected=expected)
            found[field] = column
        return cls(**found)

    def check(self, names: Collection[str]) -> None:
        """Refuse columns that no row has.

        Raises:
            DataError: the first of them.
        """
        for field, columns in self.given().items():
            for column in columns.split(","):
                if column not in names and column.split(".")[0] not in names:
                    raise DataError(f"no column for {field}", got=column, expected=f"one of {', '.join(sorted(names))}")

    @lru_cache(maxsize=64)  # noqa: B019 - few different rows, and the instance is as small as its key
    def completed(self, names: tuple[str, ...], others: tuple[str, ...] = ()) -> "Columns":
        """With the fields that the user did not name guessed from a row's columns, then from those of `others`."""
        found = {
            field: (_guess(field, names) or _guess(field, others)) if column is None else column or None
            for field, column in self
        }
        if found["instruction"] == found["question"]:  # a column `instruction` alone is the question itself
            found["instruction"] = self.instruction
        if self.caption and not self.question:  # captions were asked for
            found["question"], found["conversation"] = None, self.conversation
        elif self.question is None and _is_asked(found):
            found["question"], found["caption"] = found["caption"], None
        elif found["question"] and not self.caption:
            found["caption"] = None  # where questions are asked, a column `text` is no caption
        return Columns(**found)

    def given(self) -> dict[str, str]:
        """Field -> column, of those that have one."""
        return {field: column for field, column in self if column}


def _is_asked(found: Mapping[str, str | None]) -> bool:
    """POPE and LLaVA's benchmarks keep the question in a column `text`, next to a `label` or a `question_id`."""
    if found["question"] or found["conversation"] or (found["caption"] or "").lower() != "text":
        return False
    return bool(found["answer"]) or (found["id"] or "").lower() == "question_id"


def _guess(field: str, names: Sequence[str]) -> str | None:
    lower = {name.lower(): name for name in reversed(names)}
    for guess in GUESSES[field]:
        if guess in lower:
            return lower[guess]
    if field == "image":
        return ",".join(sorted(filter(_NUMBERED_IMAGES.fullmatch, names), key=_natural)) or None
    if field == "choices":
        letters = {match[1].lower(): name for name in names if (match := _LETTER_COLUMNS.fullmatch(name))}
        return ",".join(letters[letter] for letter in sorted(letters)) if {"a", "b"} <= set(letters) else None
    return None


def _natural(name: str) -> int:
    return int(re.sub(r"\D", "", name))
