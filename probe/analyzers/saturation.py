"""Which kind of redundancy Stage III has, decided by trying: freeze the visual tokens there, or keep only a few.

`layer_inactivity`: freezing is safe, the layers no longer change visual tokens in a way that matters (HalfV paper:
Vicuna, Mistral). `token_sparsity`: freezing is not, but the top few per cent by the last prompt token's attention
carry everything (Qwen). `none`: neither treatment is safe. Safe means: the full model's own answers keep their
likelihood and are still given.

    safe          agreement >= 0.95  and  fall in log-likelihood <= 0.05 nats a token      (`Thresholds`)
    type          the first safe treatment, freezing before keeping few; `none` when neither is safe
    confidence    share of bootstrap resamples of the cases in which this rule gives the same type

The resamples are paired: one draw of cases judges both treatments. A bootstrap knows only the failures it has seen, so
a treatment that every case passed is certain to it, however few the cases; Stage III's start is taken as found.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from halfv_core.families import Family
from halfv_core.plan import Freeze, Keep, Plan
from halfv_core.profile import CausalTest, Saturation
from halfv_core.runtime import apply
from probe.answers import Inputs, read_answer
from probe.resamples import with_replacement


class Case(NamedTuple):
    """One calibration prompt with the full model's answer to it."""

    inputs: Callable[[], Inputs]
    """Makes the model inputs anew, so that a hundred prompts' pixels are never held together."""
    answer: torch.Tensor
    """(T,) ids."""
    log_likelihood: float
    """Of the answer under the full model, nats a token."""


class Quality(NamedTuple):
    """What a plan costs in answers."""

    agreement: float
    """Share of cases whose greedy answer is the full model's."""
    log_likelihood_drop: float
    """Mean fall in the answer's log-likelihood, nats a token."""

    def within(self, thresholds: "Thresholds") -> bool:
        """Whether this counts as safe."""
        return (
            self.agreement >= thresholds.min_agreement
            and self.log_likelihood_drop <= thresholds.max_log_likelihood_drop
        )


class Readings(NamedTuple):
    """What a plan does to each case, in the cases' order."""

    agrees: tuple[bool, ...]
    """Whether the greedy answer is the full model's."""
    drops: tuple[float, ...]
    """Fall in the answer's log-likelihood, nats a token."""

    def quality(self, chosen: Iterable[int] | None = None) -> Quality:
        """Means over the chosen cases, which may repeat; over all by default."""
        rows = list(range(len(self.drops)) if chosen is None else chosen)
        agreed, fallen = (sum(column[row] for row in rows) for column in self)
        return Quality(agreed / len(rows), fallen / len(rows))

    def safe_share(self, thresholds: "Thresholds", seed: int = 0) -> float:
        """Share of bootstrap resamples of the cases in which this counts as safe."""
        draws = with_replacement(len(self.drops), seed).tolist()
        return sum(self.quality(chosen).within(thresholds) for chosen in draws) / len(draws)


class Thresholds(NamedTuple):
    """When a plan counts as safe."""

    min_agreement: float = 0.95
    max_log_likelihood_drop: float = 0.05


def quality(
    model: PreTrainedModel,
    plan: Plan,
    cases: Sequence[Case],
    *,
    family: Family | None = None,
    on_case: Callable[[], None] | None = None,
) -> Quality:
    """Run every case under the plan and compare with the full model."""
    return read_cases(model, plan, cases, family=family, on_case=on_case).quality()


def read_cases(
    model: PreTrainedModel,
    plan: Plan,
    cases: Sequence[Case],
    *,
    family: Family | None = None,
    on_case: Callable[[], None] | None = None,
) -> Readings:
    """As `quality`, case by case."""
    agrees, drops = [], []
    with apply(model, plan, family=family):
        for case in cases:
            reading = read_answer(model, case.inputs(), case.answer)
            agrees.append(reading.agrees)
            drops.append(case.log_likelihood - reading.log_likelihood)
            if on_case is not None:
                on_case()
    return Readings(tuple(agrees), tuple(drops))


def treatments(saturation_start: int, layers: int, top_share: float) -> dict[str, Plan]:
    """The two plans to try, by the type under which each is safe."""
    return {
        "layer_inactivity": Plan((Freeze(layers=range(saturation_start, layers)),)),
        "token_sparsity": Plan((Keep(layer=saturation_start, keep_ratio=top_share, selector="attention"),)),
    }


def classify_saturation(
    model: PreTrainedModel,
    cases: Sequence[Case],
    saturation_start: int | None,
    *,
    top_share: float = 0.05,
    thresholds: Thresholds = Thresholds(),  # noqa: B008 - a NamedTuple is immutable
    family: Family | None = None,
    on_case: Callable[[], None] | None = None,
    seed: int = 0,
) -> Saturation:
    """Try both treatments on the cases.

    Args:
        saturation_start: first layer of Stage III; None answers `none` at once.
        top_share: share of the visual tokens that the second treatment keeps.
        on_case: called after each case of each treatment, for progress.
        seed: of the resamples behind the confidence.
    """
    readings: dict[str, Readings] = {}
    tests: list[CausalTest] = []
    if saturation_start is not None:
        layers = model.config.get_text_config().num_hidden_layers
        for treatment, plan in treatments(saturation_start, layers, top_share).items():
            readings[treatment] = read_cases(model, plan, cases, family=family, on_case=on_case)
            found = readings[treatment].quality()
            tests.append(
                CausalTest.model_validate(
                    {"treatment": treatment, "plan": plan, "safe": found.within(thresholds)} | found._asdict()
                )
            )
    kind, reason = decide(tests)
    return Saturation(
        type=kind,
        reason=reason,
        tests=tuple(tests),
        min_agreement=thresholds.min_agreement,
        max_log_likelihood_drop=thresholds.max_log_likelihood_drop,
        confidence=confidence(readings, thresholds, seed) if readings else None,
    )


def confidence(readings: Mapping[str, Readings], thresholds: Thresholds, seed: int = 0) -> float:
    """Share of resamples of the cases, the same for both treatments, in which the rule gives the type that all give.

    Args:
        readings: by treatment, in the order in which they are preferred; one case or more.
    """

    def safe(chosen: Iterable[int] | None = None) -> str | None:
        within = (name for name, read in readings.items() if read.quality(chosen).within(thresholds))
        return next(within, None)

    found, cases = safe(), len(next(iter(readings.values())).drops)
    draws = with_replacement(cases, seed).tolist()
    return sum(safe(chosen) == found for chosen in draws) / len(draws)


def decide(tests: Sequence[CausalTest]) -> tuple[str, str]:
    """Type and reason from the tests: the first safe treatment, freezing before keeping few.

    Freezing goes first because it answers the defining question, whether the layers still change visual tokens.
    """
    if not tests:
        return "none", "The curves show no Stage III, so no treatment was tried."
    said = "; ".join(f"{_NAMES[test.treatment]} {_words(test)}" for test in tests)
    safe = [test.treatment for test in tests if test.safe]
    if not safe:
        return "none", f"Neither treatment of Stage III is safe: {said}."
    if len(safe) > 1:
        return safe[0], f"Both treatments of Stage III are safe, and freezing says that its layers are idle: {said}."
    return safe[0], f"Only one treatment of Stage III is safe: {said}."


_NAMES = {"layer_inactivity": "freezing the visual tokens", "token_sparsity": "keeping only the most attended"}


def _words(test: CausalTest) -> str:
    verdict = "is safe" if test.safe else "is not safe"
    change = f"log-likelihood {-test.log_likelihood_drop:+.3f} nats a token"
    return f"{verdict} (agreement {test.agreement:.1%}, {change})"
