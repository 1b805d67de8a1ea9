"""The meaning of columns: what is refused and why, user-given columns, and no way to crash."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from halfv_core.errors import DataError
from probe.data.columns import GUESSES, Columns
from probe.data.fields import DESCRIBE
from probe.data.sample import LETTER_INSTRUCTION
from probe.data.samples import load_samples
from tests.unit.probe.data.rows import ONE, SEED_BENCH, Expected, read


def test_every_field_can_be_guessed_and_named() -> None:
    assert set(GUESSES) == set(Columns.model_fields)


BASE: dict[str, Any] = {"image": "a.jpg", "question": "q"}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"image": "a.jpg", "question": ""}, "no question"),
        ({"image": "a.jpg", "question": " \n"}, "no question"),
        ({"image": "a.jpg", "question": "<image>"}, "no question"),
        ({"image": "a.jpg", "question": ONE}, "no question"),
        ({"image": "a.jpg", "question": float("nan")}, "no question"),
        ({"image": "a.jpg", "frage": "Warum?", "antwort": "Darum."}, "no question"),
        ({"image": "a.jpg", "conversations": "hello"}, "no question"),
        ({"image": "a.jpg", "conversations": [{"from": "gpt", "value": "Hello."}]}, "no question"),
        ({"image": "a.jpg", "conversations": [None, 3, {"from": "human"}]}, "no question"),
        ({"question": "q"}, "no image"),
        ({"image": None, "question": "q"}, "no image"),
        ({"image": [], "question": "q"}, "no image"),
        ({"image": 7, "question": "q"}, "an image is neither a path nor an image file; got int"),
        ({"image": {"path": {"x": 1}}, "question": "q"}, "got dict"),
        ({"image": [["a.jpg"]], "question": "q"}, "got list"),
        (
            BASE | {"choices": ["a", "b"], "answer": "c"},
            "the answer is none of the choices; got 'c'; expected one of a",
        ),
        (BASE | {"choices": ["a", "b"], "answer": 3}, "the answer is none of the choices; got '3'"),
        (BASE | {"choices": ["a", "b"], "answer": "²"}, "the answer is none of the choices"),
        (BASE | {"choices": ["a", "b"], "answer": "9" * 9999}, "the answer is none of the choices"),
        (BASE | {"choices": "A. cat\nB. dog", "answer": "A"}, "only one choice; got 'A. cat"),
        (BASE | {"choices": ["a", "", "c"], "answer": 1}, "an empty choice between others"),
        (BASE | {"A": "a", "B": None, "C": "c", "answer": "C"}, "an empty choice between others"),
        (BASE | {"choices": list(range(27)), "answer": 1}, "more choices than letters; got 27"),
    ],
)
def test_a_row_that_is_no_sample_says_why_in_a_line(row: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError) as caught:
        read(row)
    assert expected in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("row", "columns", "expected"),
    [
        ({"bild": "a.jpg", "frage": "Warum?"}, {"image": "bild", "question": "frage"}, Expected("Warum?")),
        (
            {"image": "a.jpg", "item": {"q": {"text": "Why?"}, "a": ["x", "y"]}},
            {"question": "item.q", "answer": "item.a"},
            Expected("Why?", ("x", "y")),
        ),
        (BASE | {"a.b": "exact", "a": {"b": "inner"}}, {"answer": "a.b"}, Expected("q", ("exact",))),
        (
            {"doc_id": 1, "doc": {"question": "inner", "image": "a.jpg"}},
            {"question": "doc.question", "id": "doc_id"},
            Expected("inner", id="1"),
        ),
        (
            {"left": "a.jpg", "right": "b.jpg", "question": "q"},
            {"image": "left,right"},
            Expected("q", images=("a.jpg", "b.jpg")),
        ),
        (BASE | {"x": "one", "y": "two", "truth": "two"}, {"choices": "x,y", "answer": "truth"}, None),
        (BASE | {"options": "shipping"}, {"choices": ""}, Expected("q")),
        (
            {"image": "a.jpg", "question": "unused", "text": "A cat."},
            {"caption": "text"},
            Expected(DESCRIBE, ("A cat.",)),
        ),
        ({"image": "a.jpg", "label": "cat"}, {"caption": "label"}, Expected(DESCRIBE, ("cat",))),
        ({"image": "a.jpg", "text": "A cat.", "label": 3}, {"question": "", "caption": "text"}, None),
    ],
)
def test_what_the_user_names_is_taken(row: dict[str, Any], columns: dict[str, str], expected: Expected | None) -> None:
    found = read(row, Columns(**columns))
    if expected is not None:
        assert found._asdict() == expected._asdict()
    elif found.choices:
        assert (found.choices, found.answers) == (("one", "two"), ("B",))
    else:
        assert (found.question, found.answers) == (DESCRIBE, ("A cat.",))


def test_columns_are_given_in_pairs() -> None:
    given = Columns.from_pairs(["question=prompt", "image=left,right", "answer=a=b", "choices="])
    assert given == Columns(question="prompt", image="left,right", answer="a=b", choices="")
    assert given.given() == {"image": "left,right", "question": "prompt", "answer": "a=b"}
    assert Columns.from_pairs([]) == Columns()


@pytest.mark.parametrize("pair", ["colour=x", "question", "=x", "", "Question=x", "question =x"])
def test_pairs_of_another_form_are_one_clear_line(pair: str) -> None:
    with pytest.raises(DataError, match=r"bad --column; got .*; expected FIELD=COLUMN with a field of id, image"):
        Columns.from_pairs([pair])


def test_columns_that_no_row_has_are_refused() -> None:
    Columns(question="a.b", image="x,y").check(["a", "x", "y"])
    with pytest.raises(DataError, match="no column for image; got z; expected one of a, x, y"):
        Columns(question="a", image="x,z").check(["y", "x", "a"])


def test_columns_that_some_rows_lack_are_those_of_the_others(tmp_path: Path) -> None:
    """A row without a question is not treated as an image to describe if the other rows have questions."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    rows = [{"image": "a.jpg", "question": "q"}, {"image": "a.jpg"}, {"images": ["a.jpg"], "question": "r"}]
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    found = load_samples(path)
    assert [sample.question for sample in found] == ["q", "r"]
    assert [str(row) for row in found.rejected] == ["line 2: no question; got columns image"]
    assert found.columns.image == "image"


def test_choices_are_asked_for_by_letter(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps(SEED_BENCH))
    expected = f"How many towels are there?\nA. One\nB. Two\nC. Three\nD. Four\n{LETTER_INSTRUCTION}"
    assert load_samples(path)[0].prompt == expected


NAMES = st.sampled_from([name for names in GUESSES.values() for name in names] + ["doc", "A", "b", "C", "image_1", "x"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.characters(categories=("Cs", "Cc", "No"))
    | st.sampled_from(
        ["a.jpg", "[]", "['a' 'b']", "[1", "['\\d']", "<image>", "A", "http://x", "data:image/x,", "²", "ä" * 300]
    )
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)
ROWS = st.lists(st.dictionaries(NAMES, JSON, max_size=6) | JSON, min_size=1, max_size=4)


@settings(max_examples=300, deadline=None)
@given(row=st.dictionaries(NAMES | st.text(max_size=3), JSON, max_size=8))
def test_any_row_is_read_or_refused(row: dict[str, Any]) -> None:
    try:
        found = read(row)
    except (DataError, ValidationError) as error:
        assert isinstance(error, ValidationError) or "\n" not in str(error)
    else:
        assert found.question and (found.images or found.videos)
        assert len(found.choices) != 1
        assert not found.choices or set(found.answers) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(found.choices)])


@settings(max_examples=150, deadline=None)
@given(rows=ROWS)
def test_every_row_is_a_sample_or_named_in_a_line(rows: list[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    (folder / "a.jpg").write_bytes(b"not opened here")
    good = [{"image": "a.jpg", "question": "q"}] * (len(rows) + 1)
    (folder / "d.jsonl").write_text("\n".join(map(json.dumps, [*good, *rows])))
    try:
        found = load_samples(folder / "d.jsonl")
    except DataError as error:  # answers with two readings
        assert "say which with --answers-are" in str(error) and "\n" not in str(error)
        return
    assert len(found) + len(found.rejected) == len(good) + len(rows)
    assert len({sample.id for sample in found}) == len(found)
    for row in found.rejected:
        assert row.label.startswith("line ") and row.reason
        assert str(row).isprintable() and len(str(row)) < 400
    for sample in found:
        assert sample.question and sample.images and sample.prompt.encode()
