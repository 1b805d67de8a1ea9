"""Grades: known values of each metric, every way to name a letter, and properties that hold for any answer."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfv_core.errors import DataError
from probe.data.samples import Sample
from probe.evaluation.choice_letters import chosen_letter
from probe.evaluation.grading import GRADINGS, Grade, Grading, exact_match, grade, metric_of, soft_match
from probe.evaluation.normalise import normalise

WORDS = st.lists(st.sampled_from("a an the cat 3 three none -3 .5 1,000 don't Red. o'clock 5% a,b (x) ½".split()))
ANSWERS = st.text() | WORDS.map(" ".join)


def asked(**fields: Any) -> Sample:
    return Sample(**{"id": "one", "images": (Path("x"),), "question": "q"} | fields)


@pytest.mark.parametrize(
    "same",
    [
        ("Top  left.", "top left", " TOP\tLEFT\n"),
        ("three", "3", "Three!"),
        ("none", "0", "zero"),
        ("twelve", "12"),
        ("a red car", "the red car", "red car", "Red, car."),
        ("don't", "dont", "don’t"),
        ("1,486", "1486"),
        ("1,486,000 m", "1486000 m"),
        ("t-shirt", "t shirt"),
        ("-3", "(-3)", "-3."),
        ("-.5", "-.5."),
        ("10:30", "10 30"),
        ("２", "2"),  # full width
        ("a", "A", "a."),
        ("?", " ? "),
    ],
)
def test_these_say_the_same(same: tuple[str, ...]) -> None:
    assert len({normalise(text) for text in same}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("yes", "no"),
        ("3.5", "35"),
        ("3.5", "3 5"),
        ("-3", "3"),
        ("5%", "5"),
        ("$5", "5"),
        ("5°", "5"),
        (".5", "5"),
        ("a 4 9", "4 9"),
        ("4 a 9", "4 9 a"),
        ("the", "a"),
        ("1,48", "148"),
        ("?", "!"),
        ("हिंदी", "हद"),  # vowel signs are marks, not letters
    ],
)
def test_these_do_not(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@given(WORDS.map(" ".join))
def test_a_normal_form_is_its_own(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize(
    ("answer", "references", "right"),
    [("Cat.", ("dog", "cat"), 1.0), ("cats", ("cat",), 0.0), ("", ("cat",), 0.0), ("four", ("4",), 1.0)],
)
def test_exact_match(answer: str, references: tuple[str, ...], right: float) -> None:
    assert exact_match(answer, references) == right


@pytest.mark.parametrize(
    ("votes", "value"),
    [
        ((0, 10), 0.0),
        ((1, 9), 0.3),  # the published values for ten annotators
        ((2, 8), 0.6),
        ((3, 7), 0.9),
        ((4, 6), 1.0),
        ((10, 0), 1.0),
        ((1, 0), 1.0),
        ((2, 0), 1.0),
        ((1, 1), 0.5),
        ((2, 1), (2 * 0.5 + 1) / 3),
    ],
)
def test_soft_match_known_values(votes: tuple[int, int], value: float) -> None:
    assert soft_match("Yes", ("yes", "no"), votes) == pytest.approx(value)


def slow_soft_match(answer: str, annotators: list[str]) -> float:
    """VQA v2 accuracy by its definition: the mean over all sets of annotators with one left out."""
    needed = min(3, len(annotators) - 1)
    scores = [
        min(1.0, sum(normalise(one) == normalise(answer) for one in others) / needed)
        for others in combinations(annotators, len(annotators) - 1)
    ]
    return sum(scores) / len(scores)


@given(st.lists(st.sampled_from(["yes", "Yes.", "no", "3", "three"]), min_size=2, max_size=11))
def test_soft_match_is_the_mean_over_those_left_out(annotators: list[str]) -> None:
    names = list(dict.fromkeys(annotators))
    votes = [annotators.count(name) for name in names]
    for answer in ("yes", "three", "else"):
        assert soft_match(answer, names, votes) == pytest.approx(slow_soft_match(answer, annotators))


OPTIONS = ("a blue car", "a red car", "no car", "5")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        *((form, "B") for form in ("B", "b", "(B)", "(b)", "B.", "B)", "b.", "B:", " B\n", "**B**", "B).", "(B).")),
        *((form, "B") for form in ("B. a red car", "(B) a red car", "B) A red car.", "B: a red car", "b. a red car")),
        *((form, "B") for form in ("The answer is B", "the answer is (B).", "Answer: B", "The correct option is B.")),
        *((form, "B") for form in ("Option B", "My final answer is **B**.", "It is B.", "It's b", "I would choose B")),
        *((form, "B") for form in ("So, the answer is: B. a red car", "The best choice is option B", "answer is b.")),
        *((form, "B") for form in ("a red car", "A red car.", "the red car", "The answer is a red car.", "red car")),
        ("B. The car in front has this colour.", "B"),
        ("B. A car of that colour is parked there.", "B"),
        ("No car.", "C"),
        ("five", "D"),
        ("D. 5", "D"),
        ("A", "A"),
        ("a", "A"),
        # ambiguous
        *((form, None) for form in ("", "?", "car", "E", "The answer is E", "e) a red car", "A car", "I think so")),
        *(
            (form, None)
            for form in ("A or B", "A and B", "A, B", "A/B", "AB", "b, c", "a. b. c.", "(A) (B)", "B, not A")
        ),
        *(
            (form, None)
            for form in ("B. a blue car", "B. Or A.", "not B", "The answer is not B", "Neither", "B or not B")
        ),
        *((form, None) for form in ("The answer is a car", "The answer", "Answer:", "Is it B?", "It is not (B)")),
    ],
)
def test_letters(answer: str, letter: str | None) -> None:
    assert chosen_letter(answer, OPTIONS) == letter


def test_a_text_that_two_options_have_names_neither_and_a_letter_does() -> None:
    assert chosen_letter("image", ("image", "image")) is None
    assert chosen_letter("B", ("image", "image")) == "B"
    assert chosen_letter("B. image", ("image", "image")) == "B"


def test_an_option_that_reads_like_another_ones_letter_is_ambiguous() -> None:
    assert chosen_letter("B", ("B", "A")) is None
    assert chosen_letter("B", ("A", "B")) == "B"
    assert chosen_letter("B. A", ("B", "A")) == "B"


@given(ANSWERS, st.lists(st.sampled_from(["cat", "a dog", "3", "B", "none"]), min_size=2, max_size=4))
def test_a_letter_is_one_of_those_there_are(answer: str, choices: list[str]) -> None:
    assert chosen_letter(answer, choices) in (None, *"ABCD"[: len(choices)])


def test_the_order_of_options_moves_only_their_letters() -> None:
    assert [chosen_letter("a red car", order) for order in (OPTIONS, OPTIONS[::-1])] == ["B", "C"]


@pytest.mark.parametrize(
    ("fields", "metric"),
    [
        ({"answers": ("x", "y")}, "exact"),
        ({"answers": ("x", "y"), "votes": (2, 1)}, "soft"),
        ({"answer": "A", "choices": ("x", "y")}, "letter"),
    ],
)
def test_each_sample_has_a_measure_of_its_own(fields: dict[str, Any], metric: str) -> None:
    assert metric_of(asked(**fields)) == metric


def test_a_grade_says_how_it_was_found() -> None:
    voted = asked(answers=("yes", "no"), votes=(1, 9))
    assert grade(voted, "Yes.") == Grade(pytest.approx(0.3), "soft")
    assert grade(voted, "Yes.", "exact") == Grade(1.0, "exact")
    choice = asked(answer="B", choices=("x", "y"))
    assert grade(choice, "(B) y") == Grade(1.0, "letter")
    assert grade(choice, "(B) y", "exact") == Grade(0.0, "exact")
    assert grade(choice, "A or B") == Grade(0.0, "letter")
    assert grade(asked(answers=("x", "y")), "y", "soft") == Grade(pytest.approx(0.5), "soft")


def test_letters_need_choices() -> None:
    with pytest.raises(
        DataError, match="grading by letter needs choices; got sample 'one' without; use --grading auto"
    ):
        grade(asked(answer="x"), "x", "letter")


@given(
    answer=ANSWERS,
    references=st.lists(ANSWERS.filter(bool), min_size=1, max_size=4, unique=True),
    votes=st.lists(st.integers(1, 9), min_size=4, max_size=4),
    grading=st.sampled_from(GRADINGS),
)
def test_any_grade_lies_between_wrong_and_right_and_references_have_no_order(
    answer: str, references: list[str], votes: list[int], grading: Grading
) -> None:
    options = {"choices": ("a cat", "red")} if grading == "letter" else {"votes": tuple(votes[: len(references)])}
    sample = asked(answers=tuple(references), **options)
    turned = asked(answers=sample.answers[::-1], **options | {"votes": sample.votes[::-1]})
    value = grade(sample, answer, grading).value
    assert 0.0 <= value <= 1.0
    assert grade(turned, answer, grading).value == pytest.approx(value)


@given(st.lists(ANSWERS.filter(bool), min_size=1, max_size=4))
def test_a_reference_is_right(references: list[str]) -> None:
    assert all(exact_match(reference, references) == 1.0 for reference in references)
