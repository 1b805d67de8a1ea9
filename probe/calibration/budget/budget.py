"""Budget: what of a calibration still fits into the time that is left, least needed first. Pure; no clock, no model.

What goes, in this order, and only as far as it must:

1. examples for the report
2. the grid of Stage III beyond the two tests that decide
3. the marginal utility surface
4. cases of the tests of Stage III and of the whole plans, down to `FEWEST`
5. samples of the curves, and with them those kept apart, down to `FEWEST` each

The curves, the two tests, the plans and the check on samples kept apart stay, so a budget below them is overshot.
Examples come last: time that the others did not need after all is theirs again.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from halfv_core.errors import DataError

MIN_SAMPLES = 10
"""Samples, cases or samples kept apart that no budget goes below; all, where fewer were asked for."""

_PART = r"\s*(\d+(?:\.\d+)?)\s*{}\s*"
_TEXT = re.compile("".join(f"(?:{_PART.format(unit)})?" for unit in ("h", "(?:min|m)", "s?")), re.IGNORECASE)


def parse_budget(text: str) -> float:
    """Seconds of "5min", "1h30min", "90 s" or "300".

    Raises:
        DataError: anything else, or no time at all.
    """
    match = _TEXT.fullmatch(text)
    parts = [float(part or 0.0) for part in match.groups()] if match else []
    seconds = sum(part * unit for part, unit in zip(parts, (3600.0, 60.0, 1.0), strict=False))
    if not 0.0 < seconds < float("inf"):
        raise DataError("bad budget", got=repr(text), expected="a time above 0, as in 90s, 5min or 1h30min")
    return seconds


class Work(NamedTuple):
    """How much of each step is done."""

    samples: int
    """Whose curves are measured."""
    held_out: int
    """Kept apart, on which the finished plan is checked."""
    tests: int
    """Cases of the tests of Stage III."""
    plans: int
    """Cases of the whole plans."""
    surface: bool = True
    """Whether marginal utility is measured."""
    grid: bool = True
    """Whether Stage III's treatments are tried beyond the two tests that decide."""
    examples: int = 0
    """Samples that are shown with what is kept of them."""

    def minimum(self) -> "Work":
        """What no budget goes below."""
        samples, held_out, tests, plans = (min(count, MIN_SAMPLES) for count in self[:4])
        return Work(samples, held_out, tests, plans, surface=False, grid=False)

    def limited_to(self, samples: int) -> "Work":
        """The same where no plan is tried on more samples than have curves."""
        return self._replace(tests=min(self.tests, samples), plans=min(self.plans, samples))


class CostEstimates(NamedTuple):
    """Seconds that one of each is expected to take."""

    sample: float
    """Curves of one sample, and the full model's answer to it."""
    answer: float
    """The full model's answer to a sample kept apart."""
    surface: float
    """Marginal utility on one sample."""
    test: float
    """The two deciding tests of Stage III on one case."""
    grid: float
    """The other tests of Stage III on one case."""
    plan: float
    """All whole plans on one case."""
    check: float
    """The plan that is taken on one sample kept apart."""
    once: float
    """What does not grow with the samples."""
    example: float = 0.0
    """One sample shown with what is kept of it."""

    def of(self, work: Work, measured: int = 0) -> float:
        """Seconds of all of it, when the curves of `measured` samples are done."""
        return (
            max(0, work.samples - measured) * self.sample
            + work.held_out * (self.answer + self.check)
            + work.surface * work.samples * self.surface
            + work.tests * (self.test + work.grid * self.grid)
            + work.plans * self.plan
            + work.examples * self.example
            + self.once
        )


def fit(requested: Work, minimum: Work, costs: CostEstimates, seconds_left: float, measured: int = 0) -> Work:
    """The most that fits.

    Args:
        asked: all that is wanted. What is done already is the same in `asked` and `least`, and its price 0.
        left: seconds.
        measured: samples whose curves are done.

    Returns:
        `least` where nothing fits.
    """
    return next((work for work in _reductions(requested, minimum) if costs.of(work, measured) <= seconds_left), minimum)


def _reductions(requested: Work, minimum: Work) -> Iterator[Work]:
    """From all down to the least, one thing dropped at each rung and none ever picked up again."""
    work = requested
    yield work
    for names in (("examples",), ("grid",), ("surface",), ("tests", "plans"), ("samples", "held_out")):
        highest, lowest = ([int(getattr(amount, name)) for name in names] for amount in (work, minimum))
        steps = max((high - low for high, low in zip(highest, lowest, strict=True)), default=0)
        for step in range(1, steps + 1):
            counts = [high - (high - low) * step // steps for high, low in zip(highest, lowest, strict=True)]
            work = work._replace(
                **{name: type(getattr(work, name))(count) for name, count in zip(names, counts, strict=True)}
            )
            yield work


def dropped_sentences(requested: Work, actual: Work) -> tuple[str, ...]:
    """What was dropped, a sentence each, what is needed least first."""
    sentences = []
    if actual.examples < requested.examples:
        sentences.append(f"What is kept is shown for {actual.examples} of {requested.examples} samples.")
    if requested.grid and not actual.grid:
        sentences.append("Stage III's treatments were not tried beyond the two tests that decide.")
    if requested.surface and not actual.surface:
        sentences.append("Marginal utility was not measured, so it settles no doubt about where Stage II begins.")
    for name, sentence in (
        ("tests", "The tests of Stage III ran on {} of {} samples."),
        ("plans", "The whole plans were tried on {} of {} samples."),
        ("samples", "The curves come from {} of {} samples."),
        ("held_out", "The plan was checked on {} of the {} samples kept apart."),
    ):
        actual_count, requested_count = getattr(actual, name), getattr(requested, name)
        if actual_count < requested_count:
            sentences.append(sentence.format(actual_count, requested_count))
    return tuple(sentences)
