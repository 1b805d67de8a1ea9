"""Reads a folder of images, with a metadata file that lists them or with a caption in a text file next to each."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from halfv_core.errors import DataError
from probe.data.readers.base import READERS, Reader, Row, Source, Table
from probe.data.readers.delimited import open_delimited
from probe.data.readers.json_rows import open_json

METADATA = ("metadata.jsonl", "metadata.csv", "captions.jsonl", "captions.json", "captions.csv", "captions.tsv")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")


def open_folder(source: Source) -> Table:
    """Rows of the folder's metadata file, or one row per image with the caption in `<name>.txt` next to it.

    Raises:
        DataError: the folder has neither metadata nor images.
    """
    for name in METADATA:
        listing = source.path / name
        if listing.is_file():
            opener = open_delimited if listing.suffix in (".csv", ".tsv") else open_json
            return opener(replace(source, location=str(listing)))
    images = sorted(path for path in source.path.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not images:
        expected = f"images, Parquet files, a folder made by save_to_disk, or a listing ({', '.join(METADATA)})"
        raise DataError(f"no data in folder {source.path}", expected=expected)
    return Table(_captioned(images, source.path), source.path)


def _captioned(images: list[Path], base: Path) -> Iterator[Row]:
    for number, image in enumerate(images, start=1):
        name = image.relative_to(base).as_posix()
        values = {"id": name, "image": name}
        text = image.with_suffix(".txt")
        try:
            caption = text.read_text(encoding="utf-8-sig").strip() if text.is_file() else ""
        except (OSError, UnicodeDecodeError):
            yield Row(name, number, {}, f"its caption {text.name} is not UTF-8 text")
            continue
        yield Row(name, number, values | ({"caption": caption} if caption else {}))


READERS.register("folder")(Reader(lambda source: source.path.is_dir(), open_folder))
