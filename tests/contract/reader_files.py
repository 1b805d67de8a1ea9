"""Little data files in every format that a reader is registered for, and a fake hub."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

Rows = list[dict[str, Any]]
HUB = "someone/something"
datasets.disable_progress_bars()

ROWS: Rows = [
    {"id": "a", "question": "What is it?", "answer": "cat", "category": "what", "choices": None, "hint": None},
    {
        "id": "b",
        "question": "Größer, or „kleiner“?",
        "answer": "1",
        "category": None,
        "choices": ["big", "small, or so"],
    },
    {"id": "c", "question": 'Two "lines"\nand a comma,', "answer": "yes", "category": "is", "hint": "Look!"},
]
COLUMNS = ("id", "image", "question", "answer", "category", "choices", "hint")


def picture(index: int) -> bytes:
    """A PNG file of noise."""
    pixels = np.random.default_rng(index).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def beside(folder: Path, rows: Rows) -> Rows:
    """The rows with paths to image files in a folder next to the data."""
    (folder / "pictures").mkdir(parents=True)
    for index in range(len(rows)):
        (folder / "pictures" / f"{index}.png").write_bytes(picture(index))
    return [{name: (row | {"image": f"pictures/{i}.png"}).get(name) for name in COLUMNS} for i, row in enumerate(rows)]


def inside(rows: Rows, image: Callable[[int], Any]) -> Rows:
    """The rows with embedded images."""
    return [{name: (row | {"image": image(i)}).get(name) for name in COLUMNS} for i, row in enumerate(rows)]


def struct(index: int) -> dict[str, Any]:
    """An image as the `datasets` library writes it to Parquet."""
    return {"bytes": picture(index), "path": None}


def jsonl(path: Path, rows: Rows) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def filed_under_ids(path: Path, rows: Rows) -> Path:
    path.write_text(json.dumps({row["id"]: {name: row[name] for name in COLUMNS[1:]} for row in rows}))
    return path


def delimited(path: Path, rows: Rows) -> Path:
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return path


def parquet_file(path: Path, rows: Rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=2)
    return path


def shards(folder: Path, rows: Rows) -> Path:
    for index, part in enumerate((rows[:1], rows[1:])):
        parquet_file(folder / "data" / f"test-{index:05}-of-00002.parquet", part)
    return folder


def dataset(rows: Rows) -> datasets.Dataset:
    return datasets.Dataset(pyarrow.Table.from_pylist(rows)).cast_column("image", datasets.Image())


def saved(folder: Path, rows: Rows, split: str | None = None) -> Path:
    data = dataset(rows)
    (datasets.DatasetDict({"train": data.select([0]), split: data}) if split else data).save_to_disk(folder)
    return folder


Write = Callable[[Path], str | Path]


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, datasets.Dataset]:
    """A fake hub with one data set, by split; no network."""
    splits = {"train": dataset(inside(ROWS[:1], struct)), "test": dataset(inside(ROWS, struct))}

    def load(name: str, subset: str | None, split: str) -> datasets.Dataset:
        if name != HUB or subset not in (None, "main"):
            raise ConnectionError(f"Couldn't reach '{name}' on the Hub\nwith many lines\nbelow it")
        if split not in splits:
            raise ValueError(f'Unknown split "{split}".')
        return splits[split]

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name, subset: list(splits))
    return splits
