"""Answers to multiple choice questions: a column has one meaning, which its rows decide together."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from halfv_core.errors import DataError
from probe.data.answers import MEANINGS, Choice, Meaning, choice_letter, decide_meaning
from probe.data.choices import CHOICE_LETTERS, Choices, read_choices
from probe.data.columns import Columns
from probe.data.samples import Samples, load_samples

WORDS = ["hare", "fox", "owl", "hawk"]
DIGITS = ["1", "2", "3", "4"]


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    path = folder / "d.jsonl"
    path.write_text("\n".join(json.dumps({"image": "a.png", "question": "Which?"} | row) for row in rows))
    return path


def column(folder: Path, rows: list[tuple[list[Any], Any]], name: str = "answer", **options: Any) -> Samples:
    return load_samples(write(folder, [{"choices": choices, name: answer} for choices, answer in rows]), **options)


@pytest.mark.parametrize(
    ("rows", "expected", "meaning"),
    [
        ([(WORDS, "0"), (DIGITS, "2"), (WORDS, "3")], "ACD", "index0"),
        ([(WORDS, 0), (DIGITS, 2), (WORDS, 3)], "ACD", "index0"),
        ([(WORDS, 0), ([1, 2, 3, 4], 2), (WORDS, 3)], "ACD", "index0"),
        ([(WORDS, "0.0"), (DIGITS, "2.0"), (WORDS, "3.0")], "ACD", "index0"),
        ([(WORDS, "1"), (DIGITS, "2"), (WORDS, "4")], "ABD", "index1"),
        ([(WORDS, 1), (["4", "3", "2", "1"], 2), (WORDS, 4)], "ABD", "index1"),
        ([(WORDS, "B"), (["C", "A", "D", "B"], "B")], "BB", "letter"),
        ([(WORDS, "(b)"), (["C", "A", "D", "B"], "d")], "BD", "letter"),
        ([(WORDS, "owl"), (["C", "A", "D", "B"], "B")], "CD", "text"),
        ([(WORDS, "owl"), (["4", "3", "2", "1"], "1")], "CD", "text"),
        ([(["4", "3", "2", "1"], "4"), (["8", "4"], "8"), (["5", "0"], "5")], "AAA", "text"),
        ([(["left", "right"], "right"), (["a", "b"], "a")], "BA", "text"),
        ([([10, 20, 30], 20), ([1, 2, 3], 1)], "BA", "text"),
        ([(WORDS, "?"), (WORDS, None), (WORDS, "1"), (WORDS, "4")], "__AD", "index1"),
    ],
)
def test_the_whole_column_says_what_an_answer_is(
    rows: list[tuple[list[Any], Any]], expected: str, meaning: Meaning, tmp_path: Path
) -> None:
    found = column(tmp_path, rows)
    assert "".join(sample.answer or "_" for sample in found) == expected
    assert (found.answers, found.rejected) == (meaning, ())


@pytest.mark.parametrize(
    ("rows", "readings"),
    [
        ([(DIGITS, "2")], "texts of the choices or indices from 0"),
        ([(["2", "1", "0"], "1"), (["0", "2", "1"], "2")], "texts of the choices or indices from 0"),
        ([(["C", "A", "D", "B"], "B")], "letters or texts of the choices"),
    ],
)
def test_a_column_with_two_readings_is_refused_until_the_user_says_which(
    rows: list[tuple[list[Any], Any]], readings: str, tmp_path: Path
) -> None:
    with pytest.raises(
        DataError, match=f"the answers in column answer may be {readings}.*say which with --answers-are"
    ):
        column(tmp_path, rows)
    other: Meaning = "letter" if readings.startswith("letters") else "index0"
    text, letters = (
        [sample.answer for sample in column(tmp_path, rows, answers=meaning)] for meaning in ("text", other)
    )
    assert None not in text + letters and text != letters


def test_an_index_that_may_count_from_one_is_said(tmp_path: Path) -> None:
    found = column(tmp_path, [(WORDS, 1), (WORDS, 2), (WORDS, 3)])
    assert [sample.answer for sample in found] == ["B", "C", "D"]
    (note,) = found.notes
    assert "read as indices from 0" in note and "--answers-are index1" in note
    again = column(tmp_path, [(WORDS, 1), (WORDS, 2), (WORDS, 3)], answers="index1")
    assert ([sample.answer for sample in again], again.notes) == (["A", "B", "C"], ())


def test_the_name_of_a_column_says_that_it_holds_indices(tmp_path: Path) -> None:
    found = column(tmp_path, [(DIGITS, "2"), (DIGITS, "0")], "gold_idx", columns=Columns(answer="gold_idx"))
    assert [sample.answer for sample in found] == ["C", "A"]


def test_rows_that_break_the_columns_meaning_are_named(tmp_path: Path) -> None:
    found = column(tmp_path, [(WORDS, "B"), (WORDS, "C"), (WORDS, "owl"), (WORDS, "E"), (WORDS, "D")])
    assert [sample.answer for sample in found] == ["B", "C", "D"]
    expected = "expected a letter from A to D, as in the other rows"
    assert [str(row) for row in found.rejected] == [
        f"line 3: the answer is none of the choices; got 'owl'; {expected}",
        f"line 4: the answer is none of the choices; got 'E'; {expected}",
    ]


def test_several_right_choices_are_refused(tmp_path: Path) -> None:
    found = column(tmp_path, [(WORDS, "B"), (WORDS, ["A", "C"]), (WORDS, ["D", "D"])])
    assert [sample.answer for sample in found] == ["B", "D"]
    assert str(found.rejected[0]) == "line 2: more than one choice is right; got A, C"


@pytest.mark.parametrize("nothing", ["nan", "NaN", "None", "", None, float("nan"), "<NA>", "null"])
def test_what_tables_write_for_nothing_is_no_option_and_no_hint(nothing: Any, tmp_path: Path) -> None:
    row = {"A": "yes", "B": "no", "C": nothing, "D": nothing, "hint": nothing, "answer": "B", "category": nothing}
    listed = {"choices": ["yes", "no", nothing], "answer": "A", "context": nothing}
    printed = {"choices": "['yes', 'no', nan, None]", "answer": "no"}
    for one, answer in ((row, "B"), (listed, "A"), (printed, "B")):
        (sample,) = load_samples(write(tmp_path, [one]))
        assert (sample.choices, sample.answer, sample.context, sample.family) == (("yes", "no"), answer, None, None)


def test_nothing_between_options_and_an_answer_that_points_there_are_refused(tmp_path: Path) -> None:
    rows = [{"choices": [*WORDS[:2], "nan", "nan"], "answer": answer} for answer in ("A", "B", "C")]
    rows += [{"choices": ["hare", "nan", "owl"], "answer": "A"}]
    found = load_samples(write(tmp_path, [*rows, rows[0]]))
    assert [row.reason[:30] for row in found.rejected] == [
        "the answer is none of the choi",
        "an empty choice between others",
    ]


@pytest.mark.parametrize("word", ["nan", "None", "null"])
def test_answers_are_words(word: str, tmp_path: Path) -> None:
    (sample,) = load_samples(write(tmp_path, [{"answer": word}]))
    assert sample.answers == (word,)
    (sample,) = load_samples(write(tmp_path, [{"answers": [word, word, "x"]}]))
    assert (sample.answers, sample.votes) == ((word, "x"), (2, 1))


@pytest.mark.parametrize(
    ("choices", "answer", "expected"),
    [
        ({"B": "no", "A": "yes"}, "B", (("yes", "no"), "B")),
        ({"A": "yes", "B": "no", "C": None, "D": None}, "A", (("yes", "no"), "A")),
        ({"text": ["yes", "no"], "label": ["1", "2"]}, "2", (("yes", "no"), "B")),
        ({"text": ["no", "yes"], "label": ["A", "B"]}, "B", (("no", "yes"), "B")),
    ],
)
def test_choices_in_an_object_keep_their_letters(choices: Any, answer: str, expected: Any, tmp_path: Path) -> None:
    (sample,) = load_samples(write(tmp_path, [{"choices": choices, "answer": answer}]))
    assert (sample.choices, sample.answer) == expected


def test_letters_of_columns_are_letters_whatever_the_options_read_like(tmp_path: Path) -> None:
    """One row is enough here: the columns themselves are lettered."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with (tmp_path / "d.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["image", "question", *"ABCD", "answer"], ["a.png", "Which?", *"CADB", "B"]])
    assert load_samples(tmp_path / "d.csv")[0].answer == "B"


TEXTS = st.sampled_from([*DIGITS, "0", "A", "B", "C", "hare", "fox", "yes"])
LISTS = st.lists(TEXTS, min_size=2, max_size=5, unique=True)
ROWS = st.lists(
    LISTS.flatmap(lambda texts: st.tuples(st.just(texts), st.integers(0, len(texts) - 1))), min_size=1, max_size=6
)


def stored(texts: list[str], right: int, meaning: Meaning) -> str:
    return {"letter": CHOICE_LETTERS[right], "text": texts[right], "index0": str(right), "index1": str(right + 1)}[
        meaning
    ]


@settings(max_examples=300, deadline=None)
@given(rows=ROWS, meaning=st.sampled_from(MEANINGS))
def test_a_column_is_read_rightly_or_refused_or_doubted(rows: list[tuple[list[str], int]], meaning: Meaning) -> None:
    """Whatever the choices read like: no column of one meaning is silently read as another."""
    choices = [read_choices({"c": texts}, "c") for texts, _ in rows]
    answers = [Choice([stored(texts, right, meaning)], one) for (texts, right), one in zip(rows, choices, strict=True)]
    try:
        found, note = decide_meaning("answer", answers)
    except DataError as error:
        assert "\n" not in str(error)
        return
    letters = [choice_letter(row, found) for row in answers]
    if note is None:
        assert letters == [(CHOICE_LETTERS[right],) for _, right in rows]
    else:
        assert (found, meaning) in (("index0", "index0"), ("index0", "index1"))


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)), max_size=3)
)
def test_any_stored_answer_is_a_letter_or_refused(values: list[Any]) -> None:
    row = Choice(values, Choices(("x", "y"), ("x", "y"), ("A", "B")))
    for meaning in (*MEANINGS, None):
        try:
            assert choice_letter(row, meaning) in ((), ("A",), ("B",))
        except DataError:
            pass
