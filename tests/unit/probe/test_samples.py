"""Reading samples: what is accepted, what is refused and how, and that draws and fingerprints are what they say."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from halfv_core.errors import DataError
from probe.samples import Sample, data_fingerprint, draw, hold_out, load_samples, open_image


def write(folder: Path, rows: list[Any], images: tuple[str, ...] = ("a.png",)) -> Path:
    for name in images:
        Image.new("RGB", (8, 8), (200, 30, 30)).save(folder / name)
    path = folder / "data.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


ROW = {"id": "one", "image": "a.png", "question": "What is this?"}


def test_a_row_may_be_short_or_long(tmp_path: Path) -> None:
    rows = [ROW, {"images": ["a.png", "b.png"], "question": "q", "answer": 3, "family": "counting", "extra": 1}, ""]
    first, second = load_samples(write(tmp_path, rows, ("a.png", "b.png")))
    assert first == Sample(id="one", images=(tmp_path / "a.png",), question="What is this?")
    assert (second.id, second.answer, len(second.images)) == ("2", "3", 2)
    assert second.open_images()[0].size == (8, 8)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["{not json"], "line 1 is not JSON"),
        ([ROW, [1, 2]], "line 2: value: Input should be"),
        ([{"id": "x", "question": "q"}], "line 1: images: Field required"),
        ([dict(ROW, question="")], "line 1: question: String should have at least 1 character"),
        ([dict(ROW, image="gone.png")], "line 1 names an image that does not exist"),
        ([ROW, ROW], "two samples with id 'one'"),
        ([""], "holds no samples"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, rows: list[Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        load_samples(write(tmp_path, rows))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_binary_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file.*give a JSONL file or one of scenes"):
        load_samples(tmp_path / "gone.jsonl")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8 text"):
        load_samples(tmp_path / "binary")


def test_images_are_opened_upright_in_rgb(tmp_path: Path) -> None:
    for mode in ("RGBA", "L", "CMYK", "P", "I;16"):
        path = tmp_path / f"{mode[0]}.{'tif' if mode in ('CMYK', 'I;16') else 'png'}"
        Image.new(mode, (4, 2)).save(path)
        assert (open_image(path).mode, open_image(path).size) == ("RGB", (4, 2))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (4, 2)).save(tmp_path / "turned.jpg", exif=exif)
    assert open_image(tmp_path / "turned.jpg").size == (2, 4)


def test_bad_images_are_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = tmp_path / "good.png"
    Image.effect_noise((64, 64), 90).save(good)
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:900])
    (tmp_path / "text.png").write_text("hello")
    for name, said in [("gone.png", "no image at"), ("text.png", "not an image"), ("cut.png", "cannot decode image")]:
        with pytest.raises(DataError, match=said):
            open_image(tmp_path / name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match="cannot decode image"):
        open_image(good)


def made_up(sizes: dict[str, int]) -> list[Sample]:
    return [
        Sample(id=f"{family}{index}", images=(Path("x"),), question="q", family=family)
        for family, size in sizes.items()
        for index in range(size)
    ]


@given(
    sizes=st.dictionaries(st.sampled_from("abc"), st.integers(1, 9), min_size=1),
    count=st.integers(1, 30),
    seed=st.integers(0, 5),
)
def test_draw_is_seeded_distinct_and_even(sizes: dict[str, int], count: int, seed: int) -> None:
    samples = made_up(sizes)
    drawn = draw(samples, count, seed)
    assert drawn == draw(samples, count, seed)
    assert len({sample.id for sample in drawn}) == len(drawn) == min(count, len(samples))
    taken = {family: sum(sample.family == family for sample in drawn) for family in sizes}
    open_families = [taken[family] for family in sizes if taken[family] < sizes[family]]
    assert max(open_families, default=0) - min(open_families, default=0) <= 1


@given(count=st.integers(1, 120), share=st.floats(0, 0.9))
def test_hold_out_splits_without_loss(count: int, share: float) -> None:
    samples = made_up({"a": count})
    measured, kept_apart = hold_out(samples, share)
    assert len(kept_apart) == int(count * share)
    assert sorted(sample.id for sample in measured + kept_apart) == sorted(sample.id for sample in samples)


def test_held_out_samples_come_from_every_family() -> None:
    drawn = draw(made_up({"a": 50, "b": 20, "c": 20, "d": 20, "e": 20}), 100, 0)
    families = [sample.family for sample in hold_out(drawn, 0.2)[1]]
    assert {family: families.count(family) for family in families} == dict.fromkeys("abcde", 4)


def test_fingerprint_sees_questions_and_pixels(tmp_path: Path) -> None:
    path = write(tmp_path, [ROW])
    before = data_fingerprint(load_samples(path))
    assert before == data_fingerprint(load_samples(path))
    write(tmp_path, [dict(ROW, question="Which?")])
    assert data_fingerprint(load_samples(path)) != before
    write(tmp_path, [ROW])
    Image.new("RGB", (8, 8), (200, 30, 31)).save(tmp_path / "a.png")
    assert data_fingerprint(load_samples(path)) != before
