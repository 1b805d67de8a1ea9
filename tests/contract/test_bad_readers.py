"""Bad files of every registered reader give a one-line error. A new reader needs an entry in `BAD`."""

from pathlib import Path

import datasets
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from halfv_core.errors import DataError
from probe.data.readers import READERS
from probe.data.samples import load_samples
from tests.contract.reader_files import (
    ROWS,
    Write,
    beside,
    delimited,
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

NO_QUESTION = [{name: value for name, value in row.items() if name != "question"} for row in ROWS]
"""Rows without the column that samples cannot do without."""


def cut(path: Path, share: float) -> Path:
    return write(path, path.read_bytes()[: int(path.stat().st_size * share)])


def cut_saved(folder: Path) -> Path:
    place = saved(folder / "saved", inside(ROWS, struct))
    cut(next(place.glob("*.arrow")), 0.5)
    return place


def garbled(folder: Path) -> Path:
    """A Parquet file with an intact footer, which is read first, and broken rows."""
    path = parquet_file(folder / "d.parquet", inside(ROWS, struct))
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 2] = bytes(len(data) // 2 - 4)
    return write(path, bytes(data))


def not_text(folder: Path) -> Path:
    """A Parquet file with a text column that holds other bytes."""
    array = pyarrow.array([b"\xff\xfe"] * 3).view(pyarrow.string())
    table = pyarrow.table({"image": ["0.png"] * 3, "question": array})
    parquet.write_table(table, folder / "d.parquet")
    return folder / "d.parquet"


def twice_named(folder: Path) -> Path:
    """A Parquet file with two columns of one name, which Arrow cannot tell apart."""
    table = pyarrow.table([["0.png"], ["a"], ["b"]], names=["image", "question", "question"])
    parquet.write_table(table, folder / "d.parquet")
    return folder / "d.parquet"


def wrong_lengths(folder: Path) -> Path:
    """A saved data set whose texts begin beyond the end of the file."""
    place = saved(folder / "saved", inside(ROWS, struct))
    file = next(place.glob("*.arrow"))
    data = file.read_bytes()
    starts = np.array([0, *np.cumsum([len(row["question"].encode()) for row in ROWS])], dtype=np.int32).tobytes()
    assert starts in data
    write(file, data.replace(starts, np.array([0, 2**30, 2**30 + 1, -5], dtype=np.int32).tobytes()))
    return place


def empty_saved(folder: Path) -> Path:
    (folder / "saved").mkdir()
    write(folder / "saved" / "dataset_info.json", "")
    return folder / "saved"


def image_folder(folder: Path, text: bytes) -> Path:
    for index in range(2):
        write(folder / f"{index}.png", picture(index))
        write(folder / f"{index}.txt", text)
    return folder


BAD: dict[str, dict[str, tuple[Write, str]]] = {
    "json": {
        "empty": (lambda folder: write(folder / "d.jsonl", ""), "holds no samples"),
        "empty list": (lambda folder: write(folder / "d.json", "[]"), "holds no samples"),
        "empty .json": (lambda folder: write(folder / "d.json", ""), "holds no rows: not JSON"),
        "no list": (lambda folder: write(folder / "d.json", '{"a":\n1}'), "holds no rows: no list in it"),
        "no row": (lambda folder: write(folder / "d.json", '{"a": 1}'), "row 1: no question; got columns a"),
        "a number": (lambda folder: write(folder / "d.json", "3"), "no list in it"),
        "truncated": (lambda folder: cut(jsonl(folder / "d.jsonl", [{"q": "x" * 50}]), 0.5), "line 1: not JSON"),
        "truncated list": (lambda folder: write(folder / "d.json", '[{"a": 1}, {"b"'), "not JSON"),
        "a picture": (lambda folder: write(folder / "d.jsonl", picture(0)), "not UTF-8 text"),
        "latin-1": (lambda folder: write(folder / "d.jsonl", '{"q": "größe"}'.encode("latin-1")), "not UTF-8 text"),
        "utf-16": (lambda folder: write(folder / "d.json", "[]".encode("utf-16")), "not UTF-8 text"),
        "csv": (lambda folder: write(folder / "d.jsonl", "a,b\n1,2"), "2 of 2 rows of .*line 1: not JSON"),
        "not objects": (lambda folder: write(folder / "d.jsonl", "[1]\n3"), "line 1: not an object, got list"),
        "huge number": (lambda folder: write(folder / "d.jsonl", "9" * 5000), "line 1: not JSON"),
        "nested": (lambda folder: write(folder / "d.jsonl", "[" * 100_000), "nested too deeply"),
        "missing column": (lambda folder: jsonl(folder / "d.jsonl", beside(folder, NO_QUESTION)), "no question"),
        "not there": (lambda folder: folder / "gone.jsonl", "cannot read data .*No such file"),
        "a folder": (lambda folder: _directory(folder / "d.jsonl"), "Is a directory"),
    },
    "delimited": {
        "empty": (lambda folder: write(folder / "d.csv", ""), "has no header; got nothing"),
        "header alone": (lambda folder: write(folder / "d.csv", "image,question\n"), "holds no samples"),
        "other delimiter": (lambda folder: write(folder / "d.csv", "a;b\n1;2\n"), "has no header; got a;b"),
        "same names": (lambda folder: write(folder / "d.csv", "a,a\n1,2\n"), "different names"),
        "truncated": (lambda folder: write(folder / "d.csv", "image,question\na.png"), "1 cells under 2 column names"),
        "open quote": (
            lambda folder: write(folder / "d.tsv", 'image\tquestion\na\t"b\nc\td\ne\tf\n' + 'g\t"h"\ti\n'),
            "lines 2 to 5, is a quote not closed",
        ),
        "a picture": (lambda folder: write(folder / "d.csv", picture(0)), "not UTF-8 text"),
        "latin-1": (lambda folder: write(folder / "d.tsv", "a\tä".encode("latin-1")), "not UTF-8 text"),
        "missing column": (lambda folder: delimited(folder / "d.csv", beside(folder, NO_QUESTION)), "no question"),
        "not there": (lambda folder: folder / "gone.tsv", "cannot read data .*No such file"),
    },
    "parquet": {
        "empty": (lambda folder: write(folder / "d.parquet", ""), "cannot read data"),
        "no rows": (lambda folder: parquet_file(folder / "d.parquet", []), "holds no samples"),
        "two of one name": (twice_named, "has several columns of one name; got question"),
        "truncated": (
            lambda folder: cut(parquet_file(folder / "d.parquet", inside(ROWS, struct)), 0.6),
            "cannot read data",
        ),
        "garbled": (garbled, "cannot read data"),
        "jsonl": (lambda folder: jsonl(folder / "d.parquet", ROWS), "cannot read data"),
        "one bad shard": (
            lambda folder: write(shards(folder, inside(ROWS, struct)) / "data" / "test-1.parquet", "x").parent,
            "cannot read data .*test-1",
        ),
        "missing column": (
            lambda folder: parquet_file(folder / "d.parquet", inside(NO_QUESTION, struct)),
            "no question",
        ),
        "not text": (not_text, "cannot read data .*utf-8"),
        "not there": (lambda folder: folder / "gone.parquet", "cannot read data .*No such file"),
        "folder without": (lambda folder: _directory(folder / "d.parquet"), "no Parquet files in folder"),
    },
    "folder": {
        "empty": (lambda folder: _directory(folder / "d"), "no data in folder"),
        "caption in latin-1": (lambda folder: image_folder(folder, b"gr\xf6\xdfer"), "0.png: its caption 0.txt is not"),
        "empty listing": (lambda folder: write(folder / "metadata.jsonl", "").parent, "holds no samples"),
        "missing column": (
            lambda folder: delimited(folder / "metadata.csv", beside(folder, NO_QUESTION)).parent,
            "no question",
        ),
    },
    "saved": {
        "wrong lengths": (wrong_lengths, "cannot read data"),
        "empty": (empty_saved, "cannot read the saved data set"),
        "truncated": (cut_saved, "cannot read"),
        "no rows": (lambda folder: _no_rows(folder / "saved"), "cannot read the saved data set"),
        "missing column": (lambda folder: saved(folder / "saved", inside(NO_QUESTION, struct)), "no question"),
    },
    "hub": {
        "not there": (lambda folder: "someone/else", "cannot load data set 'someone/else': Couldn't reach.*check the"),
    },
}
"""Reader -> fault -> function that writes the file, and the error message."""


def _directory(path: Path) -> Path:
    path.mkdir()
    return path


def _no_rows(place: Path) -> Path:
    datasets.Dataset(pyarrow.Table.from_pylist([{"question": "x"}])).select([]).save_to_disk(place)
    return place


@pytest.mark.parametrize(("name", "fault"), [(name, fault) for name, faults in BAD.items() for fault in faults])
def test_bad_data_are_one_clear_line(name: str, fault: str, tmp_path: Path) -> None:
    write, message = BAD[name][fault]
    place = write(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        load_samples(place)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1500


def test_every_reader_is_tested() -> None:
    assert set(BAD) == set(READERS)


def test_a_missing_file_is_no_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("data/gone.jsonl", "data/gone.csv", "data/gone.parquet"):
        with pytest.raises(DataError, match=f"cannot read data {place}: No such file or directory"):
            load_samples(place)
    for place in ("gone", "../gone", "./gone", "/gone/data", "a/b/c", "gone.txt"):
        with pytest.raises(DataError, match="no such file or folder; give one of scenes.* or a hub data set name"):
            load_samples(place)


def test_a_file_of_no_known_kind_and_a_name_no_system_takes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no reader for .*d.xlsx; expected JSONL"):
        load_samples(write(tmp_path / "d.xlsx", "x"))
    with pytest.raises(DataError, match="File name too long"):
        load_samples("x" * 5000)
