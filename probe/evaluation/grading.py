"""Grades answers from 0 to 1: exact match, agreement with annotators, or the letter of a choice.

grade(sample, "A red car.").value
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, cast, get_args

from halfv_core.errors import DataError, HalfVError
from probe.evaluation.choice_letters import chosen_letter
from probe.evaluation.normalise import normalise

if TYPE_CHECKING:
    from probe.data.samples import Sample

Metric = Literal["exact", "soft", "letter"]
Grading = Literal["auto", "exact", "soft", "letter"]
"""A metric for all samples, or `auto` for each sample's own."""
GRADINGS: tuple[str, ...] = get_args(Grading)

ENOUGH_VOTES = 3
"""An answer that this many annotators gave counts as fully right."""


def as_grading(text: str) -> Grading:
    """Check the name of a grading.

    Raises:
        HalfVError: the name is unknown.
    """
    if text not in GRADINGS:
        raise HalfVError("unknown grading", got=text, expected=" or ".join(GRADINGS))
    return cast(Grading, text)


class Grade(NamedTuple):
    """How right an answer is, and by which metric."""

    value: float
    """0..1."""
    metric: Metric


def metric_of(sample: "Sample", grading: Grading = "auto") -> Metric:
    """The metric for a sample; with `auto`, `letter` if it has choices, `soft` if annotators voted, else `exact`.

    Raises:
        DataError: the grading is `letter`, but the sample has no choices.
    """
    if grading == "letter" and not sample.choices:
        raise DataError(
            "grading by letter needs choices", got=f"sample '{sample.id}' without", remedy="use --grading auto"
        )
    if grading != "auto":
        return grading
    return "letter" if sample.choices else "soft" if sample.votes else "exact"


def grade(sample: "Sample", answer: str, grading: Grading = "auto") -> Grade:
    """Grade an answer to a sample that has reference answers.

    Raises:
        DataError: as `metric_of`.
    """
    metric = metric_of(sample, grading)
    if metric == "letter":
        return Grade(float(chosen_letter(answer, sample.choices) in sample.answers), metric)
    if metric == "soft":
        return Grade(soft_match(answer, sample.answers, sample.votes or (1,) * len(sample.answers)), metric)
    return Grade(exact_match(answer, sample.answers), metric)


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1 if the normalised answer equals one of the normalised references, else 0."""
    return float(normalise(answer) in map(normalise, references))


def soft_match(answer: str, references: Sequence[str], votes: Sequence[int]) -> float:
    """VQA v2 accuracy: min(1, matches / 3) among all annotators but one, averaged over the annotator left out.

    With three annotators or fewer, all of the others must have given the answer.

    Args:
        votes: number of annotators who gave each reference.
    """
    wanted = normalise(answer)
    count = sum(votes)
    matches = sum(given for reference, given in zip(references, votes, strict=True) if normalise(reference) == wanted)
    if count < 2:
        return float(matches)
    needed = min(ENOUGH_VOTES, count - 1)
    without_a_match, without_another = min(1.0, (matches - 1) / needed), min(1.0, matches / needed)
    return (matches * without_a_match + (count - matches) * without_another) / count
