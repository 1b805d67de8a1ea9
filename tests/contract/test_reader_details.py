"""Splits, embedded and missing pictures, and what single formats have of their own."""

import io
from pathlib import Path

import datasets
import numpy as np
import pyarrow
import pytest
from PIL import Image

from halfv_core.errors import DataError
from probe.data.samples import data_fingerprint, load_samples
from tests.contract.reader_files import (
    HUB,
    ROWS,
    Rows,
    Write,
    beside,
    dataset,
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


def test_where_nobody_names_a_split_the_likeliest_unseen_one_is_taken(
    hub: dict[str, datasets.Dataset],  # noqa: F811
) -> None:
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
        write(tmp_path / name, picture(0))
    write(tmp_path / "a.txt", "\ufeffA cat.\n")
    write(tmp_path / "notes.md", "nothing")
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
