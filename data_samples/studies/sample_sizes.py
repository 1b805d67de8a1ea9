"""How good the plan is that a calibration finds on 20, 50, 100 and 200 samples, on the bundled models.

    make sample-sizes       # or: python -m data_samples.studies.sample_sizes --model tiny-llava

Each calibration draws its samples from the bundled scenes, with nothing certified, and its plans answer the 300
held-out scenes: the plan that it takes for 97 %, and the best of its frontier at some costs. Writes a file for each
model into data_samples/sample_sizes, which the table of docs/results.md comes from. A size that is recorded there is
not run again.
"""

from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import torch
import typer

from cli.common import load_quietly
from data_samples.studies.tables import markdown, write_table
from halfv_core.bundled import BUNDLED
from halfv_core.files import read_text, write_atomically
from halfv_core.models import bundled_models
from halfv_core.plan import Plan
from halfv_core.plan_records import PruningTest
from halfv_core.records import Record
from probe import calibrate, load_samples
from probe.calibration.settings import Settings
from probe.calibration.steps.answer import Answer
from probe.calibration.steps.held_out_answers import HeldOutAnswers
from probe.calibration.steps.held_out_check import HeldOutCheck
from probe.calibration.steps.step import ProbedModel
from probe.data.samples import Sample

COMMAND = "make sample-sizes"
SIZES = (20, 50, 100, 200)
COSTS = (2.0, 3.0, 4.0)
RECORDS = BUNDLED / "sample_sizes"
PAGE = Path(__file__).parents[2] / "docs" / "results.md"
MAX_NEW_TOKENS = 32
REACHED = 0.98
"""A plan stands for a cost from this share of it on."""


class Answered(Record):
    """One plan on the held-out scenes."""

    plan: Plan
    flops_ratio: float
    estimated: float
    """Retention as the calibration estimated it."""
    retention: float
    """Retention on the held-out scenes."""


class Size(Record):
    """One calibration."""

    samples: int
    seconds: float
    passes: float
    """See `SearchEffort.passes`."""
    taken: Answered
    """The plan that the calibration took."""
    at_costs: tuple[Answered | None, ...]
    """The plan of its frontier that keeps most at each of the costs; null if there is none."""


class Sizes(Record):
    """All calibrations of one model."""

    model: str
    costs: tuple[float, ...]
    sizes: tuple[Size, ...]


def main(
    model: Annotated[list[str] | None, typer.Option(help="May be repeated. [default: all bundled models]")] = None,
) -> None:
    """Run all sizes that are not recorded yet, the models side by side, and write the table."""
    models = model or sorted(bundled_models())
    running = [get_context("spawn").Process(target=study, args=(name,)) for name in models]
    for process in running:
        process.start()
    for process in running:
        process.join()
    if any(process.exitcode for process in running):
        raise typer.Exit(1)
    write_table(COMMAND, table(read_records()), PAGE)


def study(model: str) -> None:
    """Run the sizes of one model, each recorded as soon as it is done."""
    torch.set_num_threads(1)
    path = RECORDS / f"{model}.json"
    found = _read(path) if path.exists() else Sizes(model=model, costs=COSTS, sizes=())
    missing = [size for size in SIZES if size not in [one.samples for one in found.sizes]]
    if not missing:
        return
    loaded = load_quietly(model, "auto", "cpu", False)
    judge = HeldOut(ProbedModel(loaded.model, loaded.processor), list(load_samples("scenes-heldout")))
    for size in missing:
        found = found.model_copy(update={"sizes": (*found.sizes, _calibrated(model, judge, size))})
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, found.model_dump_json(indent=1) + "\n")


class HeldOut:
    """The held-out scenes, and the full model's answers to them."""

    def __init__(self, model: ProbedModel, samples: Sequence[Sample]) -> None:
        self.model = model
        self._samples = samples
        items = {sample.id: HeldOutAnswers(MAX_NEW_TOKENS).measure(model, sample) for sample in samples}
        self._answers = {name: Answer.of(item) for name, item in items.items()}

    def retentions(self, plans: Sequence[Plan]) -> list[float]:
        """Graded retention under each plan."""
        step = HeldOutCheck(self._answers, tuple(plans), "graded", MAX_NEW_TOKENS)
        judged = step.combine({sample.id: step.measure(self.model, sample) for sample in self._samples})
        return [scores.retention for scores in judged.scores]


def _calibrated(model: str, judge: HeldOut, size: int) -> Size:
    settings = Settings(samples=size, certify=0, examples=0)
    profile = calibrate(*judge.model[:2], load_samples("scenes"), settings, model_id=model, data="scenes")
    taken = next(test for test in profile.pruning_tests if test.plan == profile.plan)
    best = [profile.best_at(REACHED * cost) for cost in COSTS]
    tests = [taken, *(test for test in best if test is not None)]
    retentions = iter(judge.retentions([test.plan for test in tests]))

    def answered(test: PruningTest) -> Answered:
        assert test.retention is not None
        return Answered(
            plan=test.plan, flops_ratio=test.flops_ratio, estimated=test.retention, retention=next(retentions)
        )

    assert profile.search is not None and profile.search.passes is not None
    return Size(
        samples=size,
        seconds=profile.provenance.seconds,
        passes=profile.search.passes,
        taken=answered(taken),
        at_costs=tuple(None if test is None else answered(test) for test in best),
    )


def _read(path: Path) -> Sizes:
    return Sizes.model_validate_json(read_text(path))


def read_records() -> list[Sizes]:
    """The shipped records, by model."""
    return [_read(path) for path in sorted(RECORDS.glob("*.json"))]


def table(records: Sequence[Sizes]) -> str:
    """Markdown: a row for each model and size; empty without records."""
    if not records:
        return ""
    head = [
        "model",
        "samples",
        "plan for 97 %",
        "estimated",
        "held out",
        *(f"at {cost:g}x" for cost in COSTS),
        "passes",
    ]
    lines = []
    for one in records:
        for size in one.sizes:
            taken = size.taken
            cells = [f"`{one.model}`", f"{size.samples}", f"{taken.flops_ratio:.2f}x", f"{taken.estimated:.1%}"]
            cells += [f"{taken.retention:.1%}", *map(_cell, size.at_costs), f"{size.passes:.0f}"]
            lines.append(cells)
    return markdown(head, lines)


def _cell(answered: Answered | None) -> str:
    return "-" if answered is None else f"{answered.retention:.1%}"


if __name__ == "__main__":
    typer.run(main)
