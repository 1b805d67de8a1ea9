"""Every registered reader: the same data in its format give the same samples.

A new reader needs an entry in `WRITTEN`, and one in `BAD` of `test_bad_readers.py`.
"""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from probe.data.readers import READERS, Source, open_table
from probe.data.samples import Samples, data_fingerprint, load_samples
from tests.contract.reader_files import (
    HUB,
    ROWS,
    Write,
    beside,
    delimited,
    filed_under_ids,
    hub,  # noqa: F401 - a fixture
    inside,
    jsonl,
    parquet_file,
    picture,
    saved,
    shards,
    struct,
    write,
)

WRITTEN: dict[str, dict[str, Write]] = {
    "json": {
        "lines": lambda folder: jsonl(folder / "d.jsonl", beside(folder, ROWS)),
        "lines in .json": lambda folder: jsonl(folder / "d.json", beside(folder, ROWS)),
        "list": lambda folder: write(folder / "d.json", json.dumps(beside(folder, ROWS), indent=1)),
        "under a key": lambda folder: write(folder / "d.json", json.dumps({"n": 3, "data": beside(folder, ROWS)})),
        "under ids": lambda folder: filed_under_ids(folder / "d.json", beside(folder, ROWS)),
        "byte order mark": lambda folder: write(
            folder / "D.JSONL", "\ufeff" + "\r\n".join(map(json.dumps, beside(folder, ROWS))) + "\r\n\r\n"
        ),
    },
    "delimited": {
        "csv": lambda folder: delimited(folder / "d.csv", beside(folder, ROWS)),
        "tsv": lambda folder: delimited(folder / "d.tsv", beside(folder, ROWS)),
    },
    "parquet": {
        "paths": lambda folder: parquet_file(folder / "d.parquet", beside(folder, ROWS)),
        "structs": lambda folder: parquet_file(folder / "d.parquet", inside(ROWS, struct)),
        "bytes": lambda folder: parquet_file(folder / "d.parquet", inside(ROWS, picture)),
        "lists": lambda folder: parquet_file(folder / "d.parquet", inside(ROWS, lambda index: [struct(index)])),
        "shards": lambda folder: shards(folder, inside(ROWS, struct)),
    },
    "folder": {
        "metadata.csv": lambda folder: delimited(folder / "metadata.csv", beside(folder, ROWS)).parent,
        "captions.json": lambda folder: write(folder / "captions.json", json.dumps(beside(folder, ROWS))).parent,
    },
    "saved": {
        "one split": lambda folder: saved(folder / "saved", inside(ROWS, struct)),
        "test split": lambda folder: saved(folder / "saved", inside(ROWS, struct), "test"),
    },
    "hub": {"test split": lambda folder: HUB},
}
"""Reader -> variant -> function that writes the rows."""

VARIANT = pytest.mark.parametrize(
    ("name", "variant"), [(name, variant) for name, variants in WRITTEN.items() for variant in variants]
)


def test_every_reader_is_tested() -> None:
    assert set(WRITTEN) == set(READERS)


@VARIANT
def test_the_reader_is_the_first_that_knows_the_place(name: str, variant: str, tmp_path: Path) -> None:
    source = Source(str(WRITTEN[name][variant](tmp_path)))
    assert next(reader for reader in READERS if READERS[reader].reads(source)) == name


@VARIANT
def test_the_same_data_are_the_same_samples(name: str, variant: str, tmp_path: Path) -> None:
    found = load_samples(WRITTEN[name][variant](tmp_path))
    assert [sample.id for sample in found] == ["a", "b", "c"]
    assert found[0].question == "What is it?"
    assert found[1].prompt.startswith("Größer, or „kleiner“?\nA. big\nB. small, or so\nAnswer with")
    assert found[2].prompt == 'Look!\nTwo "lines"\nand a comma,'
    assert [sample.answers for sample in found] == [("cat",), ("B",), ("yes",)]
    assert [sample.family for sample in found] == ["what", None, "is"]
    assert found.rejected == ()
    assert found.columns.given() == {
        **{"id": "id", "image": "image", "question": "question", "answer": "answer", "choices": "choices"},
        **{"family": "category", "context": "hint"},
    }
    for index, sample in enumerate(found):
        (shown,) = sample.open_images()
        expected = np.asarray(Image.open(io.BytesIO(picture(index))))
        assert np.array_equal(np.asarray(shown), expected)
        assert data_fingerprint([sample]) == data_fingerprint([reference(tmp_path)[index]])


def reference(folder: Path) -> Samples:
    """The rows as the JSON Lines reader gives them."""
    place = folder / "reference"
    return load_samples(place / "d.jsonl" if place.exists() else jsonl(place / "d.jsonl", beside(place, ROWS)))


@VARIANT
def test_rows_are_labelled_and_numbered_from_one(name: str, variant: str, tmp_path: Path) -> None:
    rows = list(open_table(Source(str(WRITTEN[name][variant](tmp_path)))).rows)
    assert [row.number for row in rows] == [1, 2, 3]
    assert len({row.label for row in rows}) == 3
    assert all("\n" not in row.label and row.fault is None for row in rows)
