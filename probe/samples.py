"""Calibration data: questions about images, read from JSONL, sampled with a seed, and fingerprinted.

One JSON object a line: `id`, `image` (path relative to the file) or `images`, `question`, and optionally `answer` and
`family`.
"""

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator

from halfv_core.errors import DataError, first_fault

SCENES = Path(__file__).parent.parent / "data_samples" / "scenes"
BUNDLED_DATA: dict[str, Path] = {
    "scenes": SCENES / "calibration.jsonl",
    "scenes-heldout": SCENES / "heldout.jsonl",
}
"""Bundled name -> file; the files are there in a clone of the repository."""


class Sample(BaseModel):
    """One question about one or more images."""

    model_config = ConfigDict(frozen=True)

    id: str
    images: tuple[Path, ...] = Field(validation_alias=AliasChoices("images", "image"), min_length=1)
    question: str = Field(min_length=1)
    answer: str | None = None
    family: str | None = None

    @field_validator("images", mode="before")
    @classmethod
    def _one_is_a_list_too(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("id", "answer", mode="before")
    @classmethod
    def _numbers_are_text_too(cls, value: object) -> object:
        return str(value) if isinstance(value, int | float) else value

    def open_images(self) -> list[Image.Image]:
        """The images, decoded.

        Raises:
            DataError: one of them is missing or cannot be decoded.
        """
        return [open_image(path) for path in self.images]


def open_image(path: str | Path) -> Image.Image:
    """Decode an image file to RGB, upright.

    Raises:
        DataError: missing, not an image, cut off, or larger than Pillow's limit against decompression bombs.
    """
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except FileNotFoundError:
        raise DataError(f"no image at {path}") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} is not an image that can be read") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot decode image {path}: {error}") from None


def load_samples(data: str | Path) -> list[Sample]:
    """All samples of a bundled name or of a JSONL file, in order, with image paths resolved and found.

    Raises:
        DataError: the file cannot be read, a line is not a sample, an id comes twice, an image is missing.
    """
    path = BUNDLED_DATA.get(str(data), Path(data))
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        remedy = f"give a JSONL file or one of {', '.join(BUNDLED_DATA)}"
        raise DataError(f"cannot read data {path}: {reason}", remedy=remedy) from None
    samples = [_parse(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not samples:
        raise DataError(f"{path} holds no samples")
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise DataError(f"{path} has two samples with id '{sample.id}'")
        seen.add(sample.id)
    return samples


def _parse(path: Path, number: int, line: str) -> Sample:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{path} line {number} is not JSON ({error.msg})", expected="one JSON object a line") from None
    if isinstance(row, dict) and "id" not in row:
        row["id"] = str(number)
    try:
        sample = Sample.model_validate(row)
    except ValidationError as error:
        expected = "an object with id, image, question and optionally answer, family"
        raise DataError(f"{path} line {number}: {first_fault(error)}", expected=expected) from None
    images = tuple(path.parent / image for image in sample.images)
    for image in images:
        if not image.is_file():
            raise DataError(f"{path} line {number} names an image that does not exist", got=str(image))
    return sample.model_copy(update={"images": images})


def draw(samples: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    """`count` samples, seeded, in equal shares of the question families as far as they reach; all, if there are fewer.

    Raises:
        DataError: count below 1.
    """
    if count < 1:
        raise DataError("at least one sample is needed", got=count)
    generator = random.Random(seed)
    families: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        families[sample.family or ""].append(sample)
    for group in families.values():
        generator.shuffle(group)
    drawn: list[Sample] = []
    while len(drawn) < min(count, len(samples)):
        for name in sorted(families):
            if families[name] and len(drawn) < count:
                drawn.append(families[name].pop())
    return drawn


def hold_out(samples: Sequence[Sample], share: float) -> tuple[list[Sample], list[Sample]]:
    """Split drawn samples into those to measure on and the first `share`, kept apart; a draw mixes families throughout.

    Raises:
        DataError: a share outside 0..0.9.
    """
    if not 0.0 <= share <= 0.9:
        raise DataError("the held-out share is out of range", got=share, expected="0..0.9")
    kept_apart = int(len(samples) * share)
    return list(samples[kept_apart:]), list(samples[:kept_apart])


def data_fingerprint(samples: Sequence[Sample]) -> str:
    """sha256 over ids, questions, answers and image bytes, in order."""
    digest = hashlib.sha256()
    for sample in samples:
        row = [sample.id, sample.question, sample.answer, len(sample.images)]
        digest.update(json.dumps(row).encode())
        for path in sample.images:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
