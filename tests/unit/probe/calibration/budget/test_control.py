"""Calibrations under a budget, with a fake clock that advances with the tokens computed by the decoder's MLPs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from halfv_core.cost import DecoderShape
from halfv_core.errors import HalfVError
from halfv_core.families import parts_of
from halfv_core.models import LoadedModel, load_model
from halfv_core.profile import Profile
from probe.calibration.budget.budget import CostEstimates
from probe.calibration.calibrate import Settings, calibrate
from probe.calibration.cost_estimates import CostEstimator
from probe.calibration.drawn import DrawnSamples
from probe.calibration.steps.curves import Curves
from probe.calibration.steps.step import ProbedModel
from probe.data.samples import Sample, load_samples
from tests.checkpoints import save_checkpoint
from tests.unit.probe.calibration.test_calibrate import write_samples

SETTINGS = Settings(samples=24, held_out=0.25, certify=6, max_new_tokens=2, entropy_k=5)
ROW = 0.001
"""Seconds per token and layer."""


class Clock:
    """A clock that advances when the model computes."""

    def __init__(self) -> None:
        self.now = 0.0

    def read(self) -> float:
        return self.now

    def pay(self, module: Any, given: tuple[Any, ...]) -> None:
        self.now += ROW * given[0].shape[0] * given[0].shape[1]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(str(save_checkpoint("llava", tmp_path_factory.mktemp("model"))))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return load_samples(write_samples(tmp_path_factory.mktemp("data"), 30))


@pytest.fixture
def clock(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    with ticking(loaded, monkeypatch) as found:
        yield found


@contextmanager
def ticking(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    found = Clock()
    fake_time = SimpleNamespace(monotonic=found.read, perf_counter=found.read)
    calibration = ("calibrate", "step_runner", "steps.curves", "steps.answer", "budget.control")
    for name in (*(f"calibration.{module}" for module in calibration), "trials.answers"):
        monkeypatch.setattr(sys.modules[f"probe.{name}"], "time", fake_time)
    hooks = [layer.mlp.register_forward_pre_hook(found.pay) for layer in parts_of(loaded.model).layers]
    yield found
    for hook in hooks:
        hook.remove()


def run(loaded: LoadedModel, samples: list[Sample], budget: float | None, **given: Any) -> Profile:
    settings = SETTINGS.model_copy(update={"budget": budget})
    return calibrate(loaded.model, loaded.processor, samples, settings, **given)


class Amounts(NamedTuple):
    """How much was done, the most important first."""

    samples: int
    surface: int
    """Samples with marginal utility."""
    layers: int
    """Layers at which treatments were tried."""
    in_rounds: bool
    """Whether plans were searched for in rounds."""
    held_out: int


def amounts(profile: Profile) -> Amounts:
    where, surface, causes = profile.provenance, profile.utility, profile.causes
    assert causes is not None
    searched = "search" in where.seconds_by_step
    samples, held_out = len(where.sample_ids), len(where.held_out_ids)
    return Amounts(samples, surface.samples if surface else 0, len(causes.layers), searched, held_out)


WHOLE = Amounts(samples=18, surface=18, layers=4, in_rounds=True, held_out=12)
LEAST = Amounts(samples=10, surface=0, layers=1, in_rounds=False, held_out=6)


def test_a_budget_is_kept_and_the_least_important_work_is_dropped_first(
    loaded: LoadedModel, samples: list[Sample], clock: Clock
) -> None:
    whole = run(loaded, samples, None)
    needed = clock.now
    assert (amounts(whole), whole.provenance.dropped) == (WHOLE, ())
    clock.now = 0.0
    ample = run(loaded, samples, 2 * needed)
    volatile = {"provenance", "cautions"}
    assert ample.model_dump(exclude=volatile) == whole.model_dump(exclude=volatile)
    assert (ample.provenance.dropped, ample.cautions) == ((), whole.cautions)
    profiles = []
    for share in (0.95, 0.8, 0.5):
        clock.now = 0.0
        profiles.append(run(loaded, samples, share * needed))
        assert clock.now <= 1.05 * share * needed
        cautions = [f"Cut short by the budget: {sentence}" for sentence in profiles[-1].provenance.dropped]
        assert cautions
        assert set(cautions) <= set(profiles[-1].cautions)
    clock.now = 0.0
    profiles.append(run(loaded, samples, 0.001))
    assert amounts(profiles[-1]) == LEAST
    assert profiles[-1].expected.agreement is not None
    for profile in profiles:
        for name, more_important in pairwise(reversed(Amounts._fields)):
            least = getattr(amounts(profile), name) == getattr(LEAST, name)
            assert least or getattr(amounts(profile), more_important) == getattr(WHOLE, more_important)
    assert len({amounts(profile) for profile in (whole, *profiles)}) >= 4
    for more, less in pairwise((whole, *profiles)):
        assert all(one >= other for one, other in zip(amounts(more), amounts(less), strict=True))


def test_curves_are_estimated_from_the_samples_with_a_kl_curve_and_those_without(
    loaded: LoadedModel, samples: list[Sample], clock: Clock
) -> None:
    settings = SETTINGS.model_copy(update={"samples": 12, "held_out": 0.0, "kl_samples": 5})
    drawn = DrawnSamples.draw(samples, settings)
    work = drawn.requested_work(settings)
    assert (work.samples, work.kl) == (12, 5)
    step = Curves(5, 2, kl_ids=frozenset(sample.id for sample in drawn.calibration[:5]))
    estimates = CostEstimator(settings, DecoderShape.of(loaded.model.config.get_text_config(), 4))
    model, spent, expected = ProbedModel(loaded.model, loaded.processor), [0.0], []
    for measured, sample in enumerate(drawn.calibration, start=1):
        estimates.add(step.measure(model, sample))
        spent.append(clock.now)
        costs = CostEstimates(*[0.0] * 9)
        costs = costs._replace(sample=estimates().sample, kl=estimates().kl)
        expected.append(spent[measured] + costs.of(work, measured))
    assert spent[5] / 5 > 1.5 * (spent[12] - spent[5]) / 7  # KL takes long, so that a wrong estimate is noticed
    assert expected == pytest.approx([clock.now] * 12, rel=0.1)


def test_a_resumed_run_keeps_earlier_decisions(
    loaded: LoadedModel, samples: list[Sample], clock: Clock, tmp_path: Path
) -> None:
    journal = tmp_path / "notes"
    budget = 10.5
    straight = run(loaded, samples, budget)
    assert amounts(straight) == LEAST

    def stop(step: str, done: int, total: int) -> None:
        if step == "plans" and done == 3:
            raise KeyboardInterrupt

    clock.now = 0.0
    with pytest.raises(KeyboardInterrupt):
        run(loaded, samples, budget, journal=journal, on_progress=stop)
    clock.now = -1e6  # no shortage of time
    continued = run(loaded, samples, budget, journal=journal)
    for name in ("curves", "stages", "utility", "saturation", "causes", "search", "pruning_tests", "certificate"):
        assert getattr(continued, name) == getattr(straight, name)
    assert continued.provenance.held_out_ids == straight.provenance.held_out_ids
    examples, *others = straight.provenance.dropped
    assert examples == "What is kept is shown for 0 of 6 samples."
    assert continued.provenance.dropped == tuple(
        others
    )  # the first run had not decided on examples; the second has time for them
    with pytest.raises(HalfVError, match="holds unfinished work with another budget; got 21.0; expected 10.5"):
        run(loaded, samples, 2 * budget, journal=journal)


def test_plans_are_proposed_on_no_more_samples_than_have_causal_curves(
    loaded: LoadedModel, samples: list[Sample], clock: Clock, tmp_path: Path
) -> None:
    """A run that is resumed after hasty causal curves may have time to search on more samples than they have."""
    settings = SETTINGS.model_copy(update={"samples": 30, "held_out": 0.0, "budget": 100.0})

    def hurry(step: str, done: int, total: int) -> None:
        if (step, done) == ("marginal utility", total):
            clock.now = 1e6
        if step == "causal curves" and done == total:
            clock.now = 0.0

    profile = calibrate(loaded.model, loaded.processor, samples, settings, on_progress=hurry)
    assert profile.causes is not None and profile.causes.samples == 10
    tried = {test.samples for test in profile.pruning_tests}
    assert tried == {20}
