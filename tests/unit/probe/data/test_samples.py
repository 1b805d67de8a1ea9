"""Samples: which rows become one, how rejected rows are reported, when loading fails, and fingerprints."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from halfv_core.errors import DataError
from probe.data.columns import Columns
from probe.data.images import EmbeddedImage
from probe.data.sample import LETTER_INSTRUCTION
from probe.data.samples import (
    BUNDLED_DATA,
    Rejected,
    Sample,
    check_enough,
    data_fingerprint,
    load_samples,
)


def write(folder: Path, rows: list[Any], images: tuple[str, ...] = ("a.png",)) -> Path:
    """Write rows as JSON Lines, with image files next to them."""
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
    assert (second.id, second.answer, second.answers, len(second.images)) == ("2", "3", ("3",), 2)
    assert second.open_images()[0].size == (8, 8)


def test_bundled_names_are_files_of_the_repository() -> None:
    assert {"scenes", "scenes-heldout"} <= set(BUNDLED_DATA)
    found = load_samples("scenes")
    assert len(found) == 400
    assert found.rejected == ()
    assert {"question": "question", "answer": "answer", "family": "family"}.items() <= found.columns.given().items()


def test_samples_are_a_sequence(tmp_path: Path) -> None:
    found = load_samples(write(tmp_path, [dict(ROW, id=name) for name in "abc"]))
    assert [sample.id for sample in found] == ["a", "b", "c"]
    assert [sample.id for sample in found[1:]] == ["b", "c"]
    assert (len(found), found[-1].id, found[0] in found) == (3, "c", True)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{not json", "line 2: not JSON (Expecting property name enclosed in double quotes)"),
        ([1, 2], "line 2: not an object, got list"),
        ({"id": "x", "question": "q"}, "line 2: no image"),
        (dict(ROW, question=""), "line 2: no question"),
        (dict(ROW, image="gone.png"), "line 2: image does not exist; got FOLDER/gone.png"),
        (dict(ROW, image="https://x.org/a.png"), "line 2: image https://x.org/a.png is a URL; give --fetch-images"),
        (dict(ROW, image="\x1b[31mgone\n\u202e.png"), "line 2: image does not exist; got FOLDER/?[31mgone ?.png"),
    ],
)
def test_bad_rows_are_named_and_the_others_used(tmp_path: Path, bad: Any, message: str) -> None:
    found = load_samples(write(tmp_path, [ROW, bad, dict(ROW, id="two")]))
    assert [sample.id for sample in found] == ["one", "two"]
    (row,) = found.rejected
    assert str(row).replace(str(tmp_path), "FOLDER").startswith(message)
    assert str(row).isprintable()


def test_reasons_stay_short(tmp_path: Path) -> None:
    found = load_samples(write(tmp_path, [ROW, dict(ROW, id="two"), dict(ROW, image="x./" * 300)]))
    assert len(str(found.rejected[0])) <= 80 + 2 + 300
    error = DataError("y" * 1000)
    assert Rejected.because("x" * 200, error) == Rejected("x" * 77 + "...", "y" * 297 + "...")


@pytest.mark.parametrize(("good", "bad", "goes_on"), [(3, 2, True), (2, 2, False), (1, 0, True), (0, 1, False)])
def test_data_are_given_up_where_bad_rows_are_no_fewer_than_good_ones(
    tmp_path: Path, good: int, bad: int, goes_on: bool
) -> None:
    path = write(tmp_path, [ROW] * good + ["{"] * bad)
    if goes_on:
        assert (len(load_samples(path)), len(load_samples(path).rejected)) == (good, bad)
    else:
        with pytest.raises(DataError, match=rf"^{bad} of {good + bad} rows of .* cannot be used; got line {good + 1}"):
            load_samples(path)


def test_the_first_of_many_bad_rows_are_shown() -> None:
    reasons = ["no image", "no question"] * 4
    rejected = [Rejected(f"line {index}", reason) for index, reason in enumerate(reasons[:7], 1)]
    with pytest.raises(DataError) as caught:
        check_enough("rows", 2, rejected, "mend them")
    expected = "line 1: no image; line 2: no question; line 3: no image and 4 more; mend them"
    assert str(caught.value) == f"7 of 9 rows cannot be used; got {expected}"
    check_enough("rows", 0, [], "mend them")


@pytest.mark.parametrize(
    ("bad", "labels"), [(1, "line 1"), (3, "line 1, line 2, line 3"), (4, "line 1, line 2, line 3 and 1 more")]
)
def test_what_is_wrong_with_all_of_them_is_said_once(bad: int, labels: str) -> None:
    rejected = [Rejected(f"line {index}", "no image") for index in range(1, bad + 1)]
    with pytest.raises(DataError) as caught:
        check_enough("rows", 0, rejected, "mend them")
    assert str(caught.value) == f"{bad} of {bad} rows cannot be used; got {labels}: no image; mend them"


def test_a_misnamed_column_is_said_before_any_row(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column for answer; got reply; expected one of id, image, question"):
        load_samples(write(tmp_path, [ROW]), columns=Columns(answer="reply"))
    with pytest.raises(DataError, match="line 1: not JSON"):  # no row says what columns there are
        load_samples(write(tmp_path, ["{"]), columns=Columns(answer="reply"))


def test_rows_with_the_same_id_are_told_apart(tmp_path: Path) -> None:
    rows = [dict(ROW, id=name) for name in ("a@3", "a", "a", "a", "2")] + [{"image": "a.png", "question": "q"}]
    assert [sample.id for sample in load_samples(write(tmp_path, rows))] == ["a@3", "a", "a@3@3", "a@4", "2", "6"]


def test_images_may_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    path = write(tmp_path, [ROW])
    (tmp_path / "a.png").rename(tmp_path / "pictures" / "a.png")
    assert load_samples(path, images=tmp_path / "pictures")[0].open_images()
    with pytest.raises(DataError, match="image does not exist"):
        load_samples(path)


def test_an_instruction_is_said_where_there_is_none(tmp_path: Path) -> None:
    rows = [ROW, dict(ROW, id="two", post_prompt="Yes or no."), dict(ROW, id="three", choices=["x", "y"])]
    found = load_samples(write(tmp_path, rows), instruction="In one word.")
    assert [sample.prompt.splitlines()[-1] for sample in found] == ["In one word.", "Yes or no.", "In one word."]
    assert load_samples(tmp_path / "data.jsonl")[2].prompt.endswith(LETTER_INSTRUCTION)


def test_the_prompt_says_everything_in_order() -> None:
    sample = Sample(
        **{"id": "a", "images": (Path("x"),), "question": "Which?", "context": "Look.", "choices": ("x", "y")}
    )
    assert sample.prompt == f"Look.\nWhich?\nA. x\nB. y\n{LETTER_INSTRUCTION}"


def test_one_answer_and_several_agree() -> None:
    base: dict[str, Any] = {"id": 1, "images": (Path("x"),), "question": "q"}
    assert (Sample(**base).answer, Sample(**base).answers) == (None, ())
    for given in ({"answer": 3}, {"answers": ("3",)}, {"answers": ["3"]}, {"answer": "3", "answers": ("3",)}):
        sample = Sample(**base | given)
        assert (sample.id, sample.answer, sample.answers) == ("1", "3", ("3",))
    with pytest.raises(ValidationError):
        Sample(**base | {"images": ()})


def stored(colour: int) -> EmbeddedImage:
    """An embedded image of one colour."""
    stream = io.BytesIO()
    Image.new("L", (4, 4), colour).save(stream, "PNG")
    return EmbeddedImage("row 1 image", stream.getvalue)


SAMPLE = Sample(id="a", images=(stored(1),), question="q", choices=("x", "y"), answer="A", family="f")

CHANGES: dict[str, Callable[[], list[Sample]]] = {
    "id": lambda: [SAMPLE.model_copy(update={"id": "b"})],
    "question": lambda: [SAMPLE.model_copy(update={"question": "r"})],
    "choices": lambda: [SAMPLE.model_copy(update={"choices": ("y", "x")})],
    "context": lambda: [SAMPLE.model_copy(update={"context": "c"})],
    "instruction": lambda: [SAMPLE.model_copy(update={"instruction": "i"})],
    "answers": lambda: [SAMPLE.model_copy(update={"answers": ("B",)})],
    "votes": lambda: [SAMPLE.model_copy(update={"votes": (3,)})],
    "pixels": lambda: [SAMPLE.model_copy(update={"images": (stored(2),)})],
    "one more image": lambda: [SAMPLE.model_copy(update={"images": (stored(1), stored(1))})],
    "one more sample": lambda: [SAMPLE, SAMPLE],
    "none": lambda: [],
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_fingerprint_sees_everything_that_a_model_sees(change: str) -> None:
    assert data_fingerprint(CHANGES[change]()) != data_fingerprint([SAMPLE])
    assert data_fingerprint([SAMPLE.model_copy()]) == data_fingerprint([SAMPLE])


def test_alternatives_that_nobody_voted_on_leave_the_fingerprint_as_it_was() -> None:
    """The fingerprints of bundled data stay those in profiles from before votes were recorded."""
    found = {name: data_fingerprint(load_samples(name)[:5])[:12] for name in ("scenes", "photos")}
    assert found == {"scenes": "2a89ed8bd628", "photos": "303b63b4e15d"}


def test_the_fingerprint_sees_the_order_and_not_where_pictures_lie(tmp_path: Path) -> None:
    one, two = SAMPLE, SAMPLE.model_copy(update={"id": "b"})
    assert data_fingerprint([one, two]) != data_fingerprint([two, one])
    (tmp_path / "x.png").write_bytes(stored(1).read())
    assert data_fingerprint([one.model_copy(update={"images": (tmp_path / "x.png",)})]) == data_fingerprint([one])
