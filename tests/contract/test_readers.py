"""Every registered reader: the same data in its format give the same samples, and bad files give a one-line error.

A new reader needs an entry in `WRITTEN` and one in `BAD`.
"""

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

from halfv_core.errors import DataError
from probe.data.readers import READERS, Source, open_table
from probe.data.samples import Samples, data_fingerprint, load_samples

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

WRITTEN: dict[str, dict[str, Write]] = {
    "json": {
        "lines": lambda folder: jsonl(folder / "d.jsonl", beside(folder, ROWS)),
        "lines in .json": lambda folder: jsonl(folder / "d.json", beside(folder, ROWS)),
        "list": lambda folder: _write(folder / "d.json", json.dumps(beside(folder, ROWS), indent=1)),
        "under a key": lambda folder: _write(folder / "d.json", json.dumps({"n": 3, "data": beside(folder, ROWS)})),
        "under ids": lambda folder: filed_under_ids(folder / "d.json", beside(folder, ROWS)),
        "byte order mark": lambda folder: _write(
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
        "captions.json": lambda folder: _write(folder / "captions.json", json.dumps(beside(folder, ROWS))).parent,
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


def _write(path: Path, text: str | bytes) -> Path:
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


def test_every_reader_is_tested() -> None:
    assert set(WRITTEN) == set(BAD) == set(READERS)


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


NO_QUESTION = [{name: value for name, value in row.items() if name != "question"} for row in ROWS]
"""Rows without the column that samples cannot do without."""


def cut(path: Path, share: float) -> Path:
    return _write(path, path.read_bytes()[: int(path.stat().st_size * share)])


def cut_saved(folder: Path) -> Path:
    place = saved(folder / "saved", inside(ROWS, struct))
    cut(next(place.glob("*.arrow")), 0.5)
    return place


def garbled(folder: Path) -> Path:
    """A Parquet file with an intact footer, which is read first, and broken rows."""
    path = parquet_file(folder / "d.parquet", inside(ROWS, struct))
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 2] = bytes(len(data) // 2 - 4)
    return _write(path, bytes(data))


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
    _write(file, data.replace(starts, np.array([0, 2**30, 2**30 + 1, -5], dtype=np.int32).tobytes()))
    return place


def empty_saved(folder: Path) -> Path:
    (folder / "saved").mkdir()
    _write(folder / "saved" / "dataset_info.json", "")
    return folder / "saved"


def image_folder(folder: Path, text: bytes) -> Path:
    for index in range(2):
        _write(folder / f"{index}.png", picture(index))
        _write(folder / f"{index}.txt", text)
    return folder


BAD: dict[str, dict[str, tuple[Write, str]]] = {
    "json": {
        "empty": (lambda folder: _write(folder / "d.jsonl", ""), "holds no samples"),
        "empty list": (lambda folder: _write(folder / "d.json", "[]"), "holds no samples"),
        "empty .json": (lambda folder: _write(folder / "d.json", ""), "holds no rows: not JSON"),
        "no list": (lambda folder: _write(folder / "d.json", '{"a":\n1}'), "holds no rows: no list in it"),
        "no row": (lambda folder: _write(folder / "d.json", '{"a": 1}'), "row 1: no question; got columns a"),
        "a number": (lambda folder: _write(folder / "d.json", "3"), "no list in it"),
        "truncated": (lambda folder: cut(jsonl(folder / "d.jsonl", [{"q": "x" * 50}]), 0.5), "line 1: not JSON"),
        "truncated list": (lambda folder: _write(folder / "d.json", '[{"a": 1}, {"b"'), "not JSON"),
        "a picture": (lambda folder: _write(folder / "d.jsonl", picture(0)), "not UTF-8 text"),
        "latin-1": (lambda folder: _write(folder / "d.jsonl", '{"q": "größe"}'.encode("latin-1")), "not UTF-8 text"),
        "utf-16": (lambda folder: _write(folder / "d.json", "[]".encode("utf-16")), "not UTF-8 text"),
        "csv": (lambda folder: _write(folder / "d.jsonl", "a,b\n1,2"), "2 of 2 rows of .*line 1: not JSON"),
        "not objects": (lambda folder: _write(folder / "d.jsonl", "[1]\n3"), "line 1: not an object, got list"),
        "huge number": (lambda folder: _write(folder / "d.jsonl", "9" * 5000), "line 1: not JSON"),
        "nested": (lambda folder: _write(folder / "d.jsonl", "[" * 100_000), "nested too deeply"),
        "missing column": (lambda folder: jsonl(folder / "d.jsonl", beside(folder, NO_QUESTION)), "no question"),
        "not there": (lambda folder: folder / "gone.jsonl", "cannot read data .*No such file"),
        "a folder": (lambda folder: _directory(folder / "d.jsonl"), "Is a directory"),
    },
    "delimited": {
        "empty": (lambda folder: _write(folder / "d.csv", ""), "has no header; got nothing"),
        "header alone": (lambda folder: _write(folder / "d.csv", "image,question\n"), "holds no samples"),
        "other delimiter": (lambda folder: _write(folder / "d.csv", "a;b\n1;2\n"), "has no header; got a;b"),
        "same names": (lambda folder: _write(folder / "d.csv", "a,a\n1,2\n"), "different names"),
        "truncated": (lambda folder: _write(folder / "d.csv", "image,question\na.png"), "1 cells under 2 column names"),
        "open quote": (
            lambda folder: _write(folder / "d.tsv", 'image\tquestion\na\t"b\nc\td\ne\tf\n' + 'g\t"h"\ti\n'),
            "lines 2 to 5, is a quote not closed",
        ),
        "a picture": (lambda folder: _write(folder / "d.csv", picture(0)), "not UTF-8 text"),
        "latin-1": (lambda folder: _write(folder / "d.tsv", "a\tä".encode("latin-1")), "not UTF-8 text"),
        "missing column": (lambda folder: delimited(folder / "d.csv", beside(folder, NO_QUESTION)), "no question"),
        "not there": (lambda folder: folder / "gone.tsv", "cannot read data .*No such file"),
    },
    "parquet": {
        "empty": (lambda folder: _write(folder / "d.parquet", ""), "cannot read data"),
        "no rows": (lambda folder: parquet_file(folder / "d.parquet", []), "holds no samples"),
        "two of one name": (twice_named, "has several columns of one name; got question"),
        "truncated": (
            lambda folder: cut(parquet_file(folder / "d.parquet", inside(ROWS, struct)), 0.6),
            "cannot read data",
        ),
        "garbled": (garbled, "cannot read data"),
        "jsonl": (lambda folder: jsonl(folder / "d.parquet", ROWS), "cannot read data"),
        "one bad shard": (
            lambda folder: _write(shards(folder, inside(ROWS, struct)) / "data" / "test-1.parquet", "x").parent,
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
        "empty listing": (lambda folder: _write(folder / "metadata.jsonl", "").parent, "holds no samples"),
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
        load_samples(_write(tmp_path / "d.xlsx", "x"))
    with pytest.raises(DataError, match="File name too long"):
        load_samples("x" * 5000)


SPLITTABLE: dict[str, Write] = {
    "saved": lambda folder: saved(folder / "saved", inside(ROWS, struct), "test"),
    "parquet": lambda folder: (
        parquet_file(shards(folder, inside(ROWS, struct)) / "data" / "train-0.parquet", inside(ROWS[:1], struct)).parent
    ),
    "hub": lambda folder: HUB,
}


@pytest.mark.parametrize("name", SPLITTABLE, ids="{} data".format)
def test_splits_are_chosen_and_misnamed_ones_refused(name: str, tmp_path: Path) -> None:
    place = SPLITTABLE[name](tmp_path)
    assert len(load_samples(place, split="train")) == 1
    assert len(load_samples(place, split="test")) == 3
    with pytest.raises(DataError, match="got nope; expected one of .*train|Unknown split"):
        load_samples(place, split="nope")


def test_where_nobody_names_a_split_the_likeliest_unseen_one_is_taken(hub: dict[str, datasets.Dataset]) -> None:
    assert len(load_samples(HUB)) == 3
    hub["odd"] = hub.pop("test")
    assert len(load_samples(HUB)) == 1
    hub.pop("train")
    assert len(load_samples(HUB, subset="main")) == 3
    with pytest.raises(DataError, match="cannot load data set .*check the name, --subset"):
        load_samples(HUB, subset="other")


@pytest.mark.parametrize("part", ["split", "subset"])
def test_data_without_parts_are_not_narrowed_down_silently(part: str, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", beside(tmp_path, ROWS))
    with pytest.raises(DataError, match=f"has no {part}s; got x; leave out --{part}"):
        load_samples(path, **{part: "x"})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no such split"):
        load_samples(saved(tmp_path / "saved", inside(ROWS, struct)), split="test")


SPARSE = [{"image_1": 0, "image_2": None}, {"image_1": 1, "image_2": 2}, {"image_1": None, "image_2": None}]
"""Images of the rows, in two columns."""


@pytest.mark.parametrize("storage", ["struct", "bytes", "saved", "lists"])
def test_pictures_that_a_row_does_not_have_are_not_its_pictures(storage: str, tmp_path: Path) -> None:
    make = picture if storage == "bytes" else struct
    rows: Rows = [
        {"question": "q"} | {name: None if index is None else make(index) for name, index in row.items()}
        for row in SPARSE
    ]
    if storage == "lists":
        rows = [{"question": "q", "images": [row["image_1"], row["image_2"]]} for row in rows]
    if storage == "saved":
        data = datasets.Dataset(pyarrow.Table.from_pylist(rows))
        data.cast_column("image_1", datasets.Image()).select([1, 0, 2]).select([1, 0, 2]).save_to_disk(tmp_path / "s")
    found = load_samples(tmp_path / "s" if storage == "saved" else parquet_file(tmp_path / "d.parquet", rows))
    assert [len(sample.images) for sample in found] == [1, 2]
    (row,) = found.rejected
    names = "question, images" if storage == "lists" else "question, image_1, image_2"
    assert sorted(str(row).split("; got columns ")[1].split(", ")) == sorted(names.split(", "))
    assert str(row).startswith("row 3: no image; got columns ")
    shown = [np.asarray(image) for sample in found for image in sample.open_images()]
    for index, pixels in enumerate(shown):
        assert np.array_equal(pixels, np.asarray(Image.open(io.BytesIO(picture(index)))))


def test_rows_of_pictures_alone_are_rows(tmp_path: Path) -> None:
    rows = [{"image": struct(index)} for index in range(3)]
    assert len(load_samples(parquet_file(tmp_path / "d.parquet", rows))) == 3
    dataset(rows).save_to_disk(tmp_path / "saved")
    assert len(load_samples(tmp_path / "saved")) == 3


def test_pictures_that_vanish_or_never_were_are_named(tmp_path: Path) -> None:
    path = parquet_file(tmp_path / "d.parquet", [{"question": "q", "image": {"bytes": None, "path": "gone.png"}}])
    with pytest.raises(DataError, match="no image at row 1 image"):
        load_samples(path)[0].open_images()
    found = load_samples(parquet_file(tmp_path / "e.parquet", inside(ROWS, struct)))
    (tmp_path / "e.parquet").unlink()
    with pytest.raises(DataError, match="cannot read image row 3 image: cannot read data .*No such file"):
        found[2].open_images()


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    before = data_fingerprint(load_samples(parquet_file(tmp_path / "d.parquet", inside(ROWS, struct))))
    other = parquet_file(tmp_path / "d.parquet", inside(ROWS, lambda index: struct(index + 5)))
    assert data_fingerprint(load_samples(other)) != before


def test_kinds_that_cost_a_decoder_are_not_decoded(tmp_path: Path) -> None:
    rows = [{"question": "q", "image": struct(0), "sound": {"bytes": b"no sound", "path": None}}]
    data = dataset(rows).cast_column("sound", datasets.Audio())
    data.save_to_disk(tmp_path / "saved")
    assert len(load_samples(tmp_path / "saved")) == 1


def test_a_folder_of_images_has_its_captions_beside_them(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.PNG", "a.jpg", "deep/c.webp"):
        _write(tmp_path / name, picture(0))
    _write(tmp_path / "a.txt", "\ufeffA cat.\n")
    _write(tmp_path / "notes.md", "nothing")
    found = load_samples(tmp_path)
    assert [(sample.id, sample.answer) for sample in found] == [
        ("a.jpg", "A cat."),
        ("b.PNG", None),
        ("deep/c.webp", None),
    ]
    assert {sample.question for sample in found} == {"Describe the image in one short sentence."}
    assert found[2].open_images()[0].size == (12, 9)


def test_blank_rows_of_a_table_are_none(tmp_path: Path) -> None:
    path = delimited(tmp_path / "d.csv", beside(tmp_path, ROWS))
    path.write_text(path.read_text(encoding="utf-8") + "\n,,,,,,\n  \n", encoding="utf-8")
    assert (len(load_samples(path)), load_samples(path).rejected) == (3, ())


def test_cells_may_be_larger_than_pythons_own_limit(tmp_path: Path) -> None:
    rows = beside(tmp_path, [dict(ROWS[0], question="long " * 40_000)])
    assert len(load_samples(delimited(tmp_path / "d.csv", rows))[0].question) == 199_999
