"""Which kind of redundancy Stage III has, decided by trying: freeze the visual tokens there, or keep only a few.

`layer_inactivity`: freezing is safe, the layers no longer change visual tokens in a way that matters (HalfV paper:
Vicuna, Mistral). `token_sparsity`: freezing is not, but the top few per cent by the last prompt token's attention
carry everything (Qwen). `none`: neither treatment is safe. Safe means: the full model's own answers keep their
likelihood and are still given.

    safe          agreement >= 0.95  and  fall in log-likelihood <= 0.05 nats a token      (see `Thresholds`)
    type          the first safe treatment, freezing before keeping few; `none` when neither is safe
    confidence    share of bootstrap resamples of the cases in which this rule gives the same type

The resamples are paired: one draw of cases judges both treatments. A bootstrap knows only the failures it has seen, so
a treatment that every case passed is certain to it, however few the cases; Stage III's start is taken as found.
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
    """The two plans to try, by the type under which each is safe."""
    return {
        "layer_inactivity": Plan((Freeze(layers=range(saturation_start, layers)),)),
        "token_sparsity": Plan((Keep(layer=saturation_start, keep_ratio=top_share, selector="attention"),)),
    }


def treatment_grid(starts: Sequence[int], layers: int, shares: Sequence[float]) -> list[tuple[Treatment, Plan]]:
    """Freezing, and keeping each of the shares, from each of the start layers on."""
    found: list[tuple[Treatment, Plan]] = []
    for start in starts:
        found.append(("layer_inactivity", treatments(start, layers, 1.0)["layer_inactivity"]))
        found += [("token_sparsity", treatments(start, layers, share)["token_sparsity"]) for share in shares]
    return found


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
    """Try both treatments on the cases.

    Args:
        saturation_start: first layer of Stage III, where the type is decided; None answers `none`.
        top_share: share of the visual tokens that the second treatment keeps there.
        starts, shares: other layers and shares to try for the record; the type does not depend on them.
        on_case: called after each case, for progress.
        seed: of the resamples behind the confidence.
    """
    layers = model.config.get_text_config().num_hidden_layers
    trials = SaturationTrials.at(saturation_start, layers, top_share, starts=starts, shares=shares)
    readings = try_plans(model, cases, trials.plans, family=family, on_case=on_case) if trials.plans else ()
    return trials.saturation(readings, thresholds, seed)


def confidence(readings: Mapping[Treatment, Readings], thresholds: Thresholds, seed: int = 0) -> float:
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


def decide(tests: Sequence[CausalTest]) -> tuple[SaturationType, str]:
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
