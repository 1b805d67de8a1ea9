"""Budget: how much of a calibration fits into the remaining time; the least important work is dropped first.

Work is dropped in this order, and only as much as necessary:

1. examples for the report
2. held-out samples beyond the share that is kept apart, which only prove more
3. the rounds of the search, after which plans are taken as predicted
4. causal curves at other layers than the one where Stage III seems to begin
5. the marginal utility surface
6. samples for the causal curves and for the search, or for what a published method measures, down to `MIN_SAMPLES`
7. samples for the curves together with held-out samples, down to `MIN_SAMPLES` each

The curves, the treatments of Stage III, some plans and the held-out check always run, so a very small budget is
exceeded.
The examples run last, so they may use time that other steps turned out not to need.
Everything here is pure: no clock, no model.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from halfv_core.errors import DataError

MIN_SAMPLES = 10
"""No budget reduces a number of samples below this; if fewer were requested, all of them are used."""

_PART = r"\s*(\d+(?:\.\d+)?)\s*{}\s*"
_TEXT = re.compile("".join(f"(?:{_PART.format(unit)})?" for unit in ("h", "(?:min|m)", "s?")), re.IGNORECASE)


def parse_budget(text: str) -> float:
    """Parse a duration such as "5min", "1h30min", "90 s" or "300".

    Returns:
        Seconds.

    Raises:
        DataError: the text is not a duration, or not a positive one.
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
    """Samples whose curves are measured."""
    held_out: int
    """Samples of the share that is held out, on which plans are checked."""
    tests: int
    """Samples for the causal curves."""
    plans: int
    """Samples for the search, and for the choice among its finalists."""
    surface: bool = True
    """Whether marginal utility is measured."""
    causes: bool = True
    """Whether treatments are tried at other layers than the one where Stage III seems to begin."""
    search: bool = True
    """Whether the plans that are judged are searched for, in rounds."""
    certify: int = 0
    """Further held-out samples."""
    examples: int = 0
    """Samples shown in the report with the tokens that they keep."""
    method: int = 0
    """Samples on which a published method measures what its plan needs."""
    kl: int = 0
    """Samples whose KL curve is measured, the first of `samples`."""

    def minimum(self) -> "Work":
        """The amount that no budget goes below."""
        samples, held_out, tests, plans = (min(count, MIN_SAMPLES) for count in self[:4])
        method = min(self.method, MIN_SAMPLES)
        least = Work(samples, held_out, tests, plans, method=method, kl=self.kl)
        return least._replace(surface=False, causes=False, search=False)

    def limited_to(self, samples: int) -> "Work":
        """The same work, with plans tried and methods measured on no more samples than have curves."""
        tests, plans, method = (min(count, samples) for count in (self.tests, self.plans, self.method))
        return self._replace(tests=tests, plans=plans, method=method)


class CostEstimates(NamedTuple):
    """Expected seconds for one unit of each kind of work."""

    sample: float
    """Curves of one sample, but for the KL curve, and the full model's answer to it."""
    answer: float
    """The full model's answer to one held-out sample."""
    surface: float
    """Marginal utility on one sample."""
    test: float
    """The treatments at the start of Stage III on one sample."""
    causes: float
    """The treatments at other layers on one sample."""
    search: float
    """The rounds of the search, for one sample of the search and of the choice."""
    plan: float
    """The choice among the finalists, likewise."""
    check: float
    """The plan, and milder ones, on one held-out sample."""
    once: float
    """Work that does not grow with the number of samples."""
    example: float = 0.0
    """One example for the report."""
    method: float = 0.0
    """What a published method measures on one sample."""
    kl: float = 0.0
    """KL curve of one of the samples that get one."""

    def of(self, work: Work, measured: int = 0) -> float:
        """Total seconds of the work, given that the curves of `measured` samples are done."""
        return (
            max(0, work.samples - measured) * self.sample
            + max(0, min(work.kl, work.samples) - measured) * self.kl
            + (work.held_out + work.certify) * (self.answer + self.check)
            + work.surface * work.samples * self.surface
            + work.tests * (self.test + work.causes * self.causes)
            + work.plans * (self.plan + work.search * self.search)
            + work.examples * self.example
            + work.method * self.method
            + self.once
        )


def fit(requested: Work, minimum: Work, costs: CostEstimates, seconds_left: float, measured: int = 0) -> Work:
    """Find the most work that fits into the remaining time.

    Args:
        requested: all the work. Work that is already done is the same in `requested` and `minimum`, and costs 0.
        minimum: the work that is done even if it does not fit.
        costs: expected costs.
        seconds_left: remaining time.
        measured: samples whose curves are done.

    Returns:
        The largest work that fits, or `minimum` if none does.
    """
    return next((work for work in _reductions(requested, minimum) if costs.of(work, measured) <= seconds_left), minimum)


def _reductions(requested: Work, minimum: Work) -> Iterator[Work]:
    """Yield ever smaller amounts of work, from `requested` down to `minimum`; nothing dropped is taken up again."""
    work = requested
    yield work
    for names in (
        ("examples",), ("certify",), ("search",), ("causes",), ("surface",), ("tests", "plans", "method"),
        ("samples", "held_out"),
    ):  # fmt: skip
        highest, lowest = ([int(getattr(amount, name)) for name in names] for amount in (work, minimum))
        steps = max((high - low for high, low in zip(highest, lowest, strict=True)), default=0)
        for step in range(1, steps + 1):
            counts = [high - (high - low) * step // steps for high, low in zip(highest, lowest, strict=True)]
            work = work._replace(
                **{name: type(getattr(work, name))(count) for name, count in zip(names, counts, strict=True)}
            )
            yield work


def dropped_sentences(requested: Work, actual: Work) -> tuple[str, ...]:
    """Describe what was dropped, one sentence each, the least important first."""
    sentences = []
    if actual.examples < requested.examples:
        sentences.append(f"What is kept is shown for {actual.examples} of {requested.examples} samples.")
    got, wanted = actual.held_out + actual.certify, requested.held_out + requested.certify
    if actual.certify < requested.certify and got < wanted:
        sentences.append(f"What is proven rests on {got} of {wanted} held-out samples.")
    if requested.search and not actual.search:
        sentences.append("Plans were not searched for in rounds; those that were predicted to be best were judged.")
    if requested.causes and not actual.causes:
        sentences.append("Treatments of Stage III were tried only where it seems to begin, not at other layers.")
    if requested.surface and not actual.surface:
        sentences.append("Marginal utility was not measured, so it settles no doubt about where Stage II begins.")
    for name, sentence in (
        ("tests", "The treatments of Stage III ran on {} of {} samples."),
        ("plans", "The plans were searched for and judged on {} of {} samples."),
        ("method", "What the method needs was measured on {} of {} samples."),
        ("samples", "The curves come from {} of {} samples."),
        ("held_out", "The plan was checked on {} of the {} samples kept apart."),
    ):
        actual_count, requested_count = getattr(actual, name), getattr(requested, name)
        if actual_count < requested_count:
            sentences.append(sentence.format(actual_count, requested_count))
    return tuple(sentences)
