"""How right an answer is, 0..1: exact match, agreement with annotators, or the letter of a choice.

grade(sample, "A red car.").value
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, cast, get_args

from halfv_core.errors import DataError, HalfVError
from probe.evaluation.choice_letters import chosen_letter
from probe.evaluation.normalise import normalise

if TYPE_CHECKING:
    from probe.data.samples import Sample

Kind = Literal["exact", "soft", "letter"]
Grading = Literal["auto", "exact", "soft", "letter"]
"""A kind for all samples, or each sample's own."""
GRADINGS: tuple[str, ...] = get_args(Grading)

ENOUGH_VOTES = 3
"""Annotators who gave an answer, from which on it counts as fully right."""


def as_grading(text: str) -> Grading:
    """A way to grade by its name.

    Raises:
        HalfVError: there is none of this name.
    """
    if text not in GRADINGS:
        raise HalfVError("unknown grading", got=text, expected=" or ".join(GRADINGS))
    return cast(Grading, text)


class Grade(NamedTuple):
    """How right, and by which measure."""

    value: float
    kind: Kind


def kind_of(sample: "Sample", grading: Grading = "auto") -> Kind:
    """The measure of a sample: `letter` where there are choices, `soft` where annotators voted, else `exact`.

    Raises:
        DataError: letters are asked for, and the sample has no choices.
    """
    if grading == "letter" and not sample.choices:
        raise DataError(
            "grading by letter needs choices", got=f"sample '{sample.id}' without", remedy="use --grading auto"
        )
    if grading != "auto":
        return grading
    return "letter" if sample.choices else "soft" if sample.votes else "exact"


def grade(sample: "Sample", answer: str, grading: Grading = "auto") -> Grade:
    """How right an answer to a sample with references is.

    Raises:
        DataError: see `kind_of`.
    """
    kind = kind_of(sample, grading)
    if kind == "letter":
        return Grade(float(chosen_letter(answer, sample.choices) in sample.answers), kind)
    if kind == "soft":
        return Grade(soft_match(answer, sample.answers, sample.votes or (1,) * len(sample.answers)), kind)
    return Grade(exact_match(answer, sample.answers), kind)


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1 if the answer is one of the references after normalisation, else 0."""
    return float(normalise(answer) in map(normalise, references))


def soft_match(answer: str, references: Sequence[str], votes: Sequence[int]) -> float:
    """VQA v2's accuracy: min(1, matches / 3) against all annotators but one, averaged over the one left out.

    With three annotators or fewer, all of the others must agree.

    Args:
        votes: how many annotators gave each of the references.
    """
    found = normalise(answer)
    count = sum(votes)
    matches = sum(given for reference, given in zip(references, votes, strict=True) if normalise(reference) == found)
    if count < 2:
        return float(matches)
    needed = min(ENOUGH_VOTES, count - 1)
    without_a_match, without_another = min(1.0, (matches - 1) / needed), min(1.0, matches / needed)
    return (matches * without_a_match + (count - matches) * without_another) / count
