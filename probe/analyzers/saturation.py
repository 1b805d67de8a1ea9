"""The saturation type of Stage III, decided by testing two treatments: freezing visual tokens, or keeping only a few.

`layer_inactivity`: freezing is safe, because the layers no longer change visual tokens in a way that matters (Vicuna
and Mistral in HalfV, arXiv 2604.16462). `token_sparsity`: freezing is not safe, but keeping the few per cent of tokens
with the highest attention from the last prompt token is (Qwen). `none`: neither treatment is safe. Safe means that the
model still gives the full model's answers, and that their likelihood hardly drops.

    safe          agreement >= 0.95  and  drop in log-likelihood <= 0.05 nats per token    (see `Thresholds`)
    type          the first safe treatment, freezing before keeping few; `none` when neither is safe
    confidence    share of bootstrap resamples of the cases in which this rule gives the same type

The resamples are paired: each draw of cases judges both treatments. A bootstrap knows only the failures it has seen, so
its confidence in a treatment that passed every case is 1, however few the cases. The start of Stage III is taken as
given.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from halfv_core.families import Family
from halfv_core.plan import Freeze, Keep, Plan
from halfv_core.records import CausalTest, Saturation, SaturationType, Treatment
from probe.common.resamples import with_replacement
from probe.trials.readings import Readings, Thresholds
from probe.trials.try_plans import Case, try_plans


def treatments(saturation_start: int, layers: int, top_share: float) -> dict[str, Plan]:
    """The two plans to test, by the saturation type that each would establish.

    Args:
        saturation_start: first layer of Stage III.
        layers: number of decoder layers.
        top_share: share of the visual tokens that the second plan keeps.
    """
    return {
        "layer_inactivity": Plan((Freeze(layers=range(saturation_start, layers)),)),
        "token_sparsity": Plan((Keep(layer=saturation_start, keep_ratio=top_share, selector="attention"),)),
    }


def treatment_grid(starts: Sequence[int], layers: int, shares: Sequence[float]) -> list[tuple[Treatment, Plan]]:
    """From each of the start layers on: freezing, and keeping each of the shares."""
    grid: list[tuple[Treatment, Plan]] = []
    for start in starts:
        grid.append(("layer_inactivity", treatments(start, layers, 1.0)["layer_inactivity"]))
        grid += [("token_sparsity", treatments(start, layers, share)["token_sparsity"]) for share in shares]
    return grid


@dataclass(frozen=True)
class SaturationTrials:
    """The treatments that are tried, and what follows from how they do."""

    deciding: tuple[tuple[Treatment, Plan], ...]
    """Where Stage III begins; the type follows from these."""
    beside: tuple[tuple[Treatment, Plan], ...]
    """Elsewhere, for the record."""

    @classmethod
    def at(
        cls,
        saturation_start: int | None,
        layers: int,
        top_share: float,
        *,
        starts: Sequence[int] = (),
        shares: Sequence[float] = (),
    ) -> "SaturationTrials":
        """Arguments as those of `classify_saturation`, and the number of layers."""
        deciding = [] if saturation_start is None else treatment_grid([saturation_start], layers, [top_share])
        beside = [one for one in treatment_grid(starts, layers, shares) if one not in deciding]
        return cls(tuple(deciding), tuple(beside))

    @property
    def plans(self) -> tuple[Plan, ...]:
        """All of them, those that decide first."""
        return tuple(plan for _, plan in (*self.deciding, *self.beside))

    def saturation(self, readings: Sequence[Readings], thresholds: Thresholds, seed: int = 0) -> Saturation:
        """The type, its reason and its confidence.

        Args:
            readings: of each of `plans`.
            seed: of the resamples behind the confidence.
        """
        tests = [
            CausalTest(
                treatment=treatment, plan=plan, safe=read.quality().within(thresholds), **read.quality()._asdict()
            )
            for (treatment, plan), read in zip((*self.deciding, *self.beside), readings, strict=True)
        ]
        kind, reason = decide(tests[: len(self.deciding)])
        named = {treatment: read for (treatment, _), read in zip(self.deciding, readings, strict=False)}
        return Saturation(
            type=kind,
            reason=reason,
            tests=tuple(tests[: len(self.deciding)]),
            grid=tuple(tests),
            min_agreement=thresholds.min_agreement,
            max_log_likelihood_drop=thresholds.max_log_likelihood_drop,
            confidence=confidence(named, thresholds, seed) if named else None,
        )


def classify_saturation(
    model: PreTrainedModel,
    cases: Sequence[Case],
    saturation_start: int | None,
    *,
    top_share: float = 0.05,
    thresholds: Thresholds = Thresholds(),  # noqa: B008 - a NamedTuple is immutable
    starts: Sequence[int] = (),
    shares: Sequence[float] = (),
    family: Family | None = None,
    on_case: Callable[[], None] | None = None,
    seed: int = 0,
) -> Saturation:
    """Test both treatments on the cases and classify Stage III.

    Args:
        saturation_start: first layer of Stage III, where the type is decided; None gives `none`.
        top_share: share of the visual tokens that the second treatment keeps there.
        starts, shares: other layers and shares to test for the record; the type does not depend on them.
        on_case: called after each case, for progress.
        seed: of the resamples behind the confidence.
    """
    layers = model.config.get_text_config().num_hidden_layers
    trials = SaturationTrials.at(saturation_start, layers, top_share, starts=starts, shares=shares)
    readings = try_plans(model, cases, trials.plans, family=family, on_case=on_case) if trials.plans else ()
    return trials.saturation(readings, thresholds, seed)


def confidence(readings: Mapping[Treatment, Readings], thresholds: Thresholds, seed: int = 0) -> float:
    """Share of bootstrap resamples in which the rule gives the same type as on all cases.

    Args:
        readings: by treatment, in order of preference; at least one case each.
    """

    def first_safe(chosen: Iterable[int] | None = None) -> str | None:
        within = (name for name, read in readings.items() if read.quality(chosen).within(thresholds))
        return next(within, None)

    on_all, cases = first_safe(), len(next(iter(readings.values())).drops)
    draws = with_replacement(cases, seed).tolist()
    return sum(first_safe(chosen) == on_all for chosen in draws) / len(draws)


def decide(tests: Sequence[CausalTest]) -> tuple[SaturationType, str]:
    """The type, from the first safe treatment, and the reason as a sentence.

    Freezing comes before keeping few because it answers the defining question: do the layers still change the visual
    tokens?
    """
    if not tests:
        return "none", "The curves show no Stage III, so no treatment was tried."
    results = "; ".join(f"{_NAMES[test.treatment]} {_result(test)}" for test in tests)
    safe = [test.treatment for test in tests if test.safe]
    if not safe:
        return "none", f"Neither treatment of Stage III is safe: {results}."
    if len(safe) > 1:
        return safe[0], f"Both treatments of Stage III are safe, and freezing says that its layers are idle: {results}."
    return safe[0], f"Only one treatment of Stage III is safe: {results}."


_NAMES = {"layer_inactivity": "freezing the visual tokens", "token_sparsity": "keeping only the most attended"}


def _result(test: CausalTest) -> str:
    verdict = "is safe" if test.safe else "is not safe"
    change = f"log-likelihood {-test.log_likelihood_drop:+.3f} nats a token"
    return f"{verdict} (agreement {test.agreement:.1%}, {change})"
