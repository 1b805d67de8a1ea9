"""Paths in data: where they start from, what they may leave out, and that they stay inside the user's folders."""

import base64
import io
import json
import os
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from halfv_core.errors import DataError
from probe.data import images
from probe.data.images import EmbeddedImage, from_text, image_bytes, open_images
from probe.data.samples import Samples, load_samples


def picture(width: int = 8) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, 8)).save(stream, "PNG")
    return stream.getvalue()


def put(path: Path, width: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(width))
    return path


def load(folder: Path, *names: Any, **options: Any) -> Samples:
    folder.mkdir(exist_ok=True)
    (folder / "d.json").write_text(json.dumps([{"image": name, "question": "q"} for name in names]))
    return load_samples(folder / "d.json", **options)


def widths(samples: Samples) -> list[int]:
    return [image.width for sample in samples for image in sample.open_images()]


def outside(folder: Path, way: str) -> str:
    """The name by which data reach a file that is not in their folder."""
    private = put(folder / "private" / "passport.png")
    (folder / "data").mkdir()
    if way == "link":
        (folder / "data" / "link.png").symlink_to(private)
    if way == "linked folder":
        (folder / "data" / "pictures").symlink_to(private.parent)
    ways = {"absolute": str(private), "..": "../private/passport.png", "link": "link.png"}
    return ways.get(way, {"linked folder": "pictures/passport.png", "no suffix": "../private/passport"}.get(way, ""))


WAYS = ("absolute", "..", "link", "linked folder", "no suffix")


@pytest.mark.parametrize("way", WAYS)
def test_images_outside_are_refused_and_the_remedy_works(way: str, tmp_path: Path) -> None:
    name = outside(tmp_path, way)
    with pytest.raises(DataError, match="is outside the folder of the data; give --images with a folder") as caught:
        load(tmp_path / "data", name)
    remedy = str(caught.value).rpartition("such as ")[2].partition(";")[0]
    assert Path(remedy) == tmp_path / "private"
    assert widths(load(tmp_path / "data", name, images=remedy)) == [8]


@pytest.mark.parametrize("storage", ["parquet", "saved"])
@pytest.mark.parametrize("way", WAYS)
def test_paths_in_the_place_of_bytes_are_refused_outside_too(storage: str, way: str, tmp_path: Path) -> None:
    name = outside(tmp_path, way)
    with pytest.raises(DataError, match="no image at row 1 image: .*is outside the folder of the data"):
        struct(tmp_path / "data", storage, name)[0].open_images()
    assert widths(struct(tmp_path / "data", storage, name, images=tmp_path / "private")) == [8]


def struct(folder: Path, storage: str, name: str, **options: Any) -> Samples:
    table = pyarrow.table(
        {"image": [{"bytes": None, "path": name}, {"bytes": picture(), "path": name}], "question": ["q"] * 2}
    )
    if storage == "parquet":
        parquet.write_table(table.slice(0, 1), folder / "d.parquet")
        return load_samples(folder / "d.parquet", **options)
    datasets.Dataset(table.slice(0, 1)).save_to_disk(folder)
    return load_samples(folder, **options)


def test_paths_in_the_place_of_bytes_start_from_the_data_or_from_images(tmp_path: Path) -> None:
    put(tmp_path / "a.png", 9)
    put(tmp_path / "pictures" / "b.png", 10)
    assert widths(struct(tmp_path, "parquet", "a.png")) == [9]
    assert widths(struct(tmp_path, "parquet", "b.png", images=tmp_path / "pictures")) == [10]


def test_the_users_folder_comes_before_that_of_the_data(tmp_path: Path) -> None:
    put(tmp_path / "data" / "a.png", 9)
    put(tmp_path / "pictures" / "a.png", 10)
    assert widths(load(tmp_path / "data", "a.png")) == [9]
    assert widths(load(tmp_path / "data", "a.png", images=tmp_path / "pictures")) == [10]
    (tmp_path / "pictures" / "a.png").unlink()
    with pytest.raises(DataError, match="image does not exist; got .*pictures/a.png"):
        load(tmp_path / "data", "a.png", images=tmp_path / "pictures")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        *(("n90001", "n90001.jpg"), ("a.b", "a.b.png"), ("deep/x", "deep/x.jpeg"), ("42", "000000000042.jpg")),
        ("deep\\x.png", "deep/x.png"),
        *(("42", "COCO_val2014_000000000042.jpg"), ("42", "42.png"), ("454426_2591111986", "454426_2591111986")),
    ],
)
def test_names_may_lack_what_everyone_adds(name: str, file: str, tmp_path: Path) -> None:
    put(tmp_path / file)
    assert from_text(name, tmp_path, False) == tmp_path / file


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x.org/a.png", "s3://bucket/a.png", "gopher://x/a"])
def test_other_schemes_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"image does not exist; got {url}; expected a file, or an http or https"):
        from_text(url, tmp_path, True)


def test_an_exact_name_comes_first(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg.png")
    put(tmp_path / "a.jpg")
    assert from_text("a.jpg", tmp_path, False) == tmp_path / "a.jpg"
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(DataError, match="image does not exist"):
        from_text("a.jpg", tmp_path, False)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_no_image(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "x.png"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        place.symlink_to("/dev/zero")
    else:
        place.mkdir()
    with pytest.raises(DataError, match="image does not exist"):
        from_text("x.png", tmp_path, False)
    with pytest.raises(DataError, match="cannot read image"):
        image_bytes(place)


def test_links_in_a_circle_are_no_file(tmp_path: Path) -> None:
    (tmp_path / "x.png").symlink_to(tmp_path / "x.png")
    with pytest.raises(DataError, match="image does not exist"):
        from_text("x.png", tmp_path, False)


def text64(width: int) -> str:
    return base64.b64encode(picture(width) + bytes(200)).decode()


def test_an_image_may_be_that_of_another_row(tmp_path: Path) -> None:
    put(tmp_path / "7.png", 70)
    rows = [("a", text64(9)), ("1", text64(10)), ("2", "1"), ("3", 1), ("4", "2"), ("5", "7")]
    (tmp_path / "d.json").write_text(
        json.dumps([{"index": name, "image": image, "question": "q"} for name, image in rows])
    )
    found = load_samples(tmp_path / "d.json")
    assert {sample.id: sample.open_images()[0].width for sample in found} == {
        **{"a": 9, "1": 10, "2": 10, "3": 10},
        "5": 70,
    }
    assert [str(row)[:29] for row in found.rejected] == ["row 5: image does not exist; "]


def test_images_of_one_sample_have_a_limit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [EmbeddedImage(f"image {number}", picture) for number in range(4)]
    monkeypatch.setattr(images, "MAX_SAMPLE_PIXELS", 3 * 64)
    assert len(open_images(sources[:3])) == 3
    with pytest.raises(DataError, match="image image 3 is too large to be decoded safely; got 8 x 8 px"):
        open_images(sources)


def test_a_row_may_name_its_own_folder_alone(tmp_path: Path) -> None:
    """The id of a row is looked for as a folder; one that leads elsewhere is not."""
    put(tmp_path / "secret" / "image.png")
    put(tmp_path / "data" / "1" / "image.png")
    for name, count in (("1", 1), ("../secret", 0), ("..", 0), (str(tmp_path / "secret"), 0)):
        rows = [{"id": name, "image": "image.png", "question": "q"}]
        (tmp_path / "data" / "d.json").write_text(json.dumps(rows))
        if count:
            assert len(load_samples(tmp_path / "data" / "d.json")) == count
        else:
            with pytest.raises(DataError, match="image does not exist"):
                load_samples(tmp_path / "data" / "d.json")
