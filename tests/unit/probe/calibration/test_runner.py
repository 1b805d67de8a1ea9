"""The runner with steps that need no model: what it records, restores, counts, times and skips."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from halfv_core.cost import DecoderShape
from halfv_core.errors import DataError
from probe.calibration.budget.budget import Work
from probe.calibration.runner import Runner
from probe.calibration.settings import Settings
from probe.calibration.steps.step import Item, ProbedModel, Step
from probe.common.journal import Journal
from probe.data.samples import Sample
from tests.tiny import tiny_model

SHAPE = DecoderShape(layers=4, hidden=8, query_width=8, kv_width=8, mlp=16, value_bytes=4)
REQUESTED = Work(9, 9, 9, 9)
MODEL = ProbedModel(tiny_model("llava"), SimpleNamespace())  # type: ignore[arg-type]


@dataclass(frozen=True)
class Lengths(Step[int]):
    """Total number of letters in all questions."""

    name = "lengths"
    longest: int = 10
    measured: list[str] = field(default_factory=list)
    """Ids of the measured samples, in order."""

    def measure(self, model: ProbedModel, sample: Sample) -> Item:
        self.measured.append(sample.id)
        if len(sample.question) > self.longest:
            raise DataError("the question is too long", got=len(sample.question), expected=self.longest)
        return {"letters": len(sample.question)}

    def combine(self, items: Mapping[str, Item]) -> int:
        return sum(item["letters"] for item in items.values())


@dataclass(frozen=True)
class Tolerant(Lengths):
    name = "tolerant"
    key = "short"
    skips_bad_samples = True


@dataclass(frozen=True)
class Unrecorded(Lengths):
    name = "fleeting"
    recorded = False


@dataclass(frozen=True)
class Checked(Lengths):
    name = "checked"
    cost_fields = ("check",)


@dataclass(frozen=True)
class Counted(Lengths):
    name = "counted"
    budgeted = "before the step"
    work_field = "plans"


def samples(*questions: str) -> list[Sample]:
    return [Sample(id=f"s{at}", images=[Path("none.png")], question=text) for at, text in enumerate(questions)]


def runner(journal: Journal | None = None, progress: list[Any] | None = None, requested: Work = REQUESTED) -> Runner:
    report = None if progress is None else lambda *step: progress.append(step)
    return Runner(MODEL, Settings(), SHAPE, requested, journal, report, 0.0)


def test_every_sample_is_measured_in_order_and_counted() -> None:
    progress: list[Any] = []
    run, step = runner(progress=progress), Lengths()
    assert run(step, samples("a", "bb", "ccc")) == 6
    assert step.measured == ["s0", "s1", "s2"]
    assert progress == [("lengths", done, 3) for done in range(4)]
    assert run.seconds["lengths"] >= 0.0
    assert set(run.seconds) == {"lengths"}


def test_items_in_the_journal_are_not_measured_again(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j", {}) as journal:
        runner(journal)(Lengths(), samples("a", "bb"))
        assert [record["name"] for record in journal.records] == ["lengths/s0", "lengths/s1"]
    step = Lengths()
    with Journal.open(tmp_path / "j", {}) as journal:
        assert runner(journal)(step, samples("a", "bb", "ccc")) == 6
    assert step.measured == ["s2"]


def test_a_bad_sample_ends_the_run_unless_the_step_skips_it(tmp_path: Path) -> None:
    questions = samples("a", "b" * 11, "cc")
    with pytest.raises(DataError, match="the question is too long; got 11; expected 10"):
        runner()(Lengths(), questions)
    with Journal.open(tmp_path / "j", {}) as journal:
        run = runner(journal)
        assert run(Tolerant(), questions) == 3
    step = Tolerant()
    with Journal.open(tmp_path / "j", {}) as journal:
        assert [record["name"] for record in journal.records] == ["short/s0", "short/s1", "short/s2"]
        again = runner(journal)
        assert again(step, questions) == 3
    assert step.measured == []
    for finished in (run, again):
        assert list(map(str, finished.rejected)) == ["s1: the question is too long; got 11; expected 10"]


def test_unrecorded_steps_are_neither_stored_nor_counted(tmp_path: Path) -> None:
    progress: list[Any] = []
    with Journal.open(tmp_path / "j", {}) as journal:
        run = runner(journal, progress)
        assert run(Unrecorded(), samples("a")) == 1
        assert journal.records == []
    assert progress == []
    assert "fleeting" in run.seconds


def test_the_budget_limits_the_number_of_samples() -> None:
    step = Counted()
    assert runner(requested=Work(9, 9, 9, 2))(step, samples("a", "bb", "ccc")) == 3
    assert step.measured == ["s0", "s1"]


def test_a_step_without_samples_leaves_no_trace() -> None:
    progress: list[Any] = []
    run = runner(progress=progress)
    assert run(Lengths(), []) == 0
    assert (progress, dict(run.seconds)) == ([], {})


def test_a_step_that_the_budget_leaves_alone_is_paid_for_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise its time would stay set aside, and later steps would be cut short for it."""
    paid: list[Any] = []
    run = runner()
    monkeypatch.setattr(run.budget, "finish_step", lambda *given: paid.append(given))
    run(Checked(), samples("a"))
    assert paid == [(("check",), {}, {})]
