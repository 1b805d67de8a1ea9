"""Reads a folder of images or videos, with a file that lists them or a text file next to each; or AI2D's questions.

The text is the image's caption. If all texts are lines of a question and an answer with a tab between them, they are
questions, as in MME.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from halfv_core.errors import DataError
from probe.data.images import SUFFIXES
from probe.data.readers.base import READERS, Reader, Row, Source, Table
from probe.data.readers.delimited import open_delimited
from probe.data.readers.diagrams import diagram_questions
from probe.data.readers.json_rows import open_json
from probe.data.splits import is_split
from probe.data.videos import VIDEO_SUFFIXES

METADATA = ("metadata.jsonl", "metadata.csv", "captions.jsonl", "captions.json", "captions.csv", "captions.tsv")
QUESTIONS = "questions_answers_YN"
"""Folder of the texts, where it is beside that of the images (MME)."""


def open_folder(source: Source) -> Table:
    """Rows of the folder's metadata file, or those of each image and the text in `<name>.txt` next to it.

    Images in folders named after splits belong to them.

    Raises:
        DataError: the folder has neither metadata nor images.
    """
    for name in METADATA:
        listing = source.path / name
        if listing.is_file():
            opener = open_delimited if listing.suffix in (".csv", ".tsv") else open_json
            return opener(replace(source, location=str(listing)))
    suffixes = {*SUFFIXES, *VIDEO_SUFFIXES}
    images = sorted(path for path in source.path.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    if not images and (questions := diagram_questions(source.path)) is not None:
        return Table(questions, source.path)
    if not images:
        expected = f"images, Parquet files, a folder made by save_to_disk, or a listing ({', '.join(METADATA)})"
        raise DataError(f"no data in folder {source.path}", expected=expected)
    texts = [_text_of(image) for image in images]
    written = [text for text in texts if text]
    rows = _asked if written and all(map(_is_questions, written)) else _captioned
    return Table(rows(images, texts, source.path), source.path)


def _text_of(image: Path) -> str | None:
    """The text that belongs to an image, "" if there is none; None if it is not UTF-8."""
    for place in (image.with_suffix(".txt"), image.parent.parent / QUESTIONS / f"{image.stem}.txt"):
        try:
            if place.is_file():
                return place.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError):
            return None
    return ""


def _is_questions(text: str) -> bool:
    return all(line.count("\t") == 1 for line in text.splitlines() if line.strip())


def _captioned(images: Sequence[Path], texts: Sequence[str | None], base: Path) -> Iterator[Row]:
    """A row for each image, with its caption."""
    for number, (image, text) in enumerate(zip(images, texts, strict=True), start=1):
        name = image.relative_to(base).as_posix()
        if text is None:
            yield Row(name, number, {}, f"its caption {image.stem}.txt is not UTF-8 text")
            continue
        kind = "image" if image.suffix.lower() in SUFFIXES else "video"
        values = {"id": name, kind: name} | _split_of(name)
        yield Row(name, number, values | ({"caption": text} if text else {}))


def _asked(images: Sequence[Path], texts: Sequence[str | None], base: Path) -> Iterator[Row]:
    """A row for each question about an image; its category is the name of the folder."""
    number = 0
    for image, text in zip(images, texts, strict=True):
        name = image.relative_to(base).as_posix()
        folder = image.parent.parent if image.parent.name == "images" else image.parent
        for line in filter(str.strip, (text or "").splitlines()):
            number += 1
            question, answer = line.split("\t")
            values = {"id": f"{name}/{number}", "image": name, "question": question, "answer": answer}
            yield Row(f"{name} {number}", number, values | {"category": folder.name} | _split_of(name))


def _split_of(name: str) -> dict[str, str]:
    """The split that an image belongs to, if its path begins with one."""
    first = name.partition("/")[0] if "/" in name else ""
    return {"split": first} if first and is_split(first) else {}


READERS.register("folder")(Reader(lambda source: source.path.is_dir(), open_folder))
