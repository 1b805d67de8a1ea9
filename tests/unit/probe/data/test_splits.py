"""Splits: several that lie together are told apart, and the user is told which one is read."""

import io
import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from halfv_core.errors import DataError
from probe.data.samples import load_samples
from probe.data.splits import is_split


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    return stream.getvalue()


def rows(split: str, count: int) -> list[dict[str, Any]]:
    image = {"bytes": picture(), "path": None}
    return [{"id": f"{split}{n}", "question": "q", "image": image} for n in range(count)]


def in_a_column(folder: Path) -> Path:
    (folder / "a.png").write_bytes(picture())
    listed = [
        {"id": f"{s}{n}", "image": "a.png", "question": "q", "split": s} for s in ("train", "test") for n in (0, 1)
    ]
    (folder / "d.json").write_text(json.dumps(listed))
    return folder / "d.json"


def in_shards(folder: Path) -> Path:
    for split in ("train", "test"):
        parquet.write_table(pyarrow.Table.from_pylist(rows(split, 2)), folder / f"{split}-00000-of-00001.parquet")
    return folder


def in_one_parquet(folder: Path) -> Path:
    listed = [row | {"split": split} for split in ("train", "test") for row in rows(split, 2)]
    parquet.write_table(pyarrow.Table.from_pylist(listed), folder / "d.parquet")
    return folder / "d.parquet"


def in_folders(folder: Path) -> Path:
    for split in ("train", "test"):
        (folder / split).mkdir()
        for number in (0, 1):
            (folder / split / f"{number}.png").write_bytes(picture())
    return folder


def saved(folder: Path) -> Path:
    parts = {name: datasets.Dataset(pyarrow.Table.from_pylist(rows(name, 2))) for name in ("train", "test")}
    datasets.DatasetDict(parts).save_to_disk(folder / "saved")
    return folder / "saved"


@pytest.mark.parametrize("write", [in_a_column, in_shards, in_one_parquet, in_folders, saved])
def test_one_split_is_read_and_the_other_is_named(write: Any, tmp_path: Path) -> None:
    path = write(tmp_path)
    found = load_samples(path)
    assert [sample.id.startswith("test") for sample in found] == [True, True]
    assert found.notes == ("split test is read; train left out, give --split to choose",)
    named = load_samples(path, split="train")
    assert [sample.id.startswith("train") for sample in named] == [True, True]
    assert named.notes == ()
    with pytest.raises(DataError, match="no such split; got dev; expected one of .*train"):
        load_samples(path, split="dev")


def test_a_column_of_other_words_is_no_split(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    listed = [{"image": "a.png", "question": "q", "split": name} for name in ("banana", "train")]
    (tmp_path / "d.json").write_text(json.dumps(listed))
    assert (len(load_samples(tmp_path / "d.json")), load_samples(tmp_path / "d.json").notes) == (2, ())


@pytest.mark.parametrize(
    "name", ["train", "val", "validation", "test", "dev", "testmini", "val2014", "test-dev", "restval"]
)
def test_names_of_splits(name: str) -> None:
    assert is_split(name) and is_split(name.upper())


@pytest.mark.parametrize("name", ["", "trainer", "values", "banana", "tester", "devil", "d"])
def test_other_names(name: str) -> None:
    assert not is_split(name)
