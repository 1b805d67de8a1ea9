"""The meaning of a data set's columns: which column holds which field of a sample.

Columns are named by the user (`Columns(question="prompt")`) or guessed, row by row, from the names that are common in
visual question answering. Recognised without configuration: question with answer or answers (VQA, GQA, DocVQA, TextVQA,
ChartQA ...), choices as a list or as columns A, B, C, D (ScienceQA, AI2D, MMMU, MMBench, SEED-Bench ...), conversations
(LLaVA), texts (The Cauldron) and messages (chat), and images with captions.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache

from pydantic import BaseModel, ConfigDict

from halfv_core.errors import DataError

GUESSES: dict[str, tuple[str, ...]] = {
    "id": ("id", "question_id", "questionid", "qid", "sample_id", "pid", "idx", "index", "doc_id", "uid"),
    "image": (
        *("images", "image", "decoded_image", "image_path", "image_file", "file_name", "filename", "img", "img_path"),
        *("picture", "image_name", "imgname", "img_name", "image_filename", "image_local_name", "imagename"),
        *("image_url", "url", "imageid", "image_id", "data_id"),
    ),
    "video": ("videos", "video", "video_path", "video_file", "video_name", "videoid", "video_id"),
    "question": ("question", "query", "prompt", "instruction", "problem"),
    "answer": (
        *("answer", "answers", "multiple_choice_answer", "correct_choice_idx", "gt_answer", "ground_truth"),
        *("label", "labels", "target", "response", "solution", "output", "direct_answers"),
    ),
    "choices": ("choices", "options", "multiple_choices", "candidates"),
    "family": (
        *("family", "category", "question_type", "question_types", "answer_type", "sub_task", "task", "type", "topic"),
        "relation",
    ),
    "context": ("context", "hint"),
    "instruction": ("instruction", "post_prompt"),
    "caption": (
        *("caption", "captions", "text", "sentences", "sentence", "description", "annotations_captions", "statement"),
    ),
    "conversation": ("conversations", "conversation", "messages", "texts"),
}
"""Field -> usual names of its column, most likely first; compared case-insensitively."""

_SAID_OF_VIDEOS_TOO = ("file_name", "filename", "url", "data_id")
"""Names of columns of images that are something else next to a column of videos."""
_SAID_OF_FRAMES_TOO = ("video_name", "videoid", "video_id")
"""Names of columns of videos that are something else next to a column of images."""

_NUMBERED_IMAGES = re.compile(r"image_?(\d+)", re.IGNORECASE)
_PAIRED_IMAGES = ("left_image", "right_image")
LETTER_COLUMN = re.compile(r"(?:choice_|option_|option|choice)?([a-h])", re.IGNORECASE)


class Columns(BaseModel):
    """The column that holds each field of a sample.

    Several columns are joined by commas, and dots reach into nested values (`doc.question`). None means that the
    column is guessed, "" that the data set does not have this field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str | None = None
    image: str | None = None
    video: str | None = None
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
        """Parse `FIELD=COLUMN` pairs; `FIELD=` says that the data set does not have this field.

        Raises:
            DataError: a pair has another form, or names a field that samples do not have.
        """
        expected = f"FIELD=COLUMN with a field of {', '.join(cls.model_fields)}"
        columns: dict[str, str] = {}
        for pair in pairs:
            field, equals, column = pair.partition("=")
            if not equals or field not in cls.model_fields:
                raise DataError("bad --column", got=repr(pair), expected=expected)
            columns[field] = column
        return cls(**columns)

    def check(self, names: Collection[str]) -> None:
        """Check that every named column exists.

        Args:
            names: columns of the data set.

        Raises:
            DataError: a named column is missing.
        """
        for field, columns in self.given().items():
            for column in columns.split(","):
                if column not in names and column.split(".")[0] not in names:
                    raise DataError(f"no column for {field}", got=column, expected=f"one of {', '.join(sorted(names))}")

    @lru_cache(maxsize=64)  # noqa: B019 - few different rows, and the instance is as small as its key
    def completed(
        self, names: tuple[str, ...], others: tuple[str, ...] = (), with_images: tuple[str, ...] = ()
    ) -> "Columns":
        """Fill in the columns that the user did not name.

        Args:
            names: columns of the row, which are searched first.
            others: all columns of the data set.
            with_images: those that hold images themselves, not paths; they are taken before any other.
        """
        columns = {
            field: (_guess(field, names) or _guess(field, others)) if column is None else column or None
            for field, column in self
        }
        columns |= self._either_images_or_videos(columns)
        with_images = tuple(name for name in with_images if name != columns["video"])
        if self.image is None and with_images and not set((columns["image"] or "").split(",")) & set(with_images):
            alone = with_images[0] if len(with_images) == 1 else None
            columns["image"] = _guess("image", with_images) or alone or columns["image"]
        if self.conversation is None and columns["caption"] and (columns["conversation"] or "").lower() == "texts":
            columns["conversation"] = None  # The Cauldron has no captions
        if columns["instruction"] == columns["question"]:  # a column `instruction` alone is the question itself
            columns["instruction"] = self.instruction
        if self.caption and not self.question:  # the user asked for captions
            columns["question"], columns["conversation"] = None, self.conversation
        elif self.question is None and _text_is_question(columns):
            columns["question"], columns["caption"] = columns["caption"], None
        elif columns["question"] and not self.caption:
            columns["caption"] = None  # next to a question, a column `text` is not a caption
        return Columns(**columns)

    def _either_images_or_videos(self, columns: Mapping[str, str | None]) -> dict[str, None]:
        """Which of two guesses is dropped: next to videos, an address is that of the video, and an id one of frames."""
        image, video = (columns["image"] or "").lower(), (columns["video"] or "").lower()
        if not image or not video:
            return {}
        if self.image is None and image in _SAID_OF_VIDEOS_TOO:
            return {"image": None}
        return {"video": None} if self.video is None and video in _SAID_OF_FRAMES_TOO else {}

    def given(self) -> dict[str, str]:
        """Field -> column, for the fields that have one."""
        return {field: column for field, column in self if column}


def _text_is_question(columns: Mapping[str, str | None]) -> bool:
    """POPE and LLaVA's benchmarks keep the question in a column `text`, next to a `label` or a `question_id`."""
    if columns["question"] or columns["conversation"] or (columns["caption"] or "").lower() != "text":
        return False
    return bool(columns["answer"]) or (columns["id"] or "").lower() == "question_id"


def _guess(field: str, names: Sequence[str]) -> str | None:
    lower = {name.lower(): name for name in reversed(names)}
    for guess in GUESSES[field]:
        if guess in lower:
            return lower[guess]
    if field == "image":
        pair = [lower[name] for name in _PAIRED_IMAGES if name in lower]
        return ",".join(sorted(filter(_NUMBERED_IMAGES.fullmatch, names), key=_number_in) or pair) or None
    if field == "choices":
        letters = {match[1].lower(): name for name in names if (match := LETTER_COLUMN.fullmatch(name))}
        return ",".join(letters[letter] for letter in sorted(letters)) if {"a", "b"} <= set(letters) else None
    return None


def _number_in(name: str) -> int:
    return int(re.sub(r"\D", "", name))


def image_numbers(columns: str | None, count: int, first: int = 1) -> list[int]:
    """The number by which texts refer to each image: that of its column, or its place in a list.

    Args:
        columns: the columns of the images, joined by commas.
        count: number of columns, or of images in the one column.
        first: the number of the first image in a list.
    """
    names = (columns or "").split(",")
    if len(names) == count and all(map(_NUMBERED_IMAGES.fullmatch, names)):
        return [_number_in(name) for name in names]
    return list(range(first, first + count))
