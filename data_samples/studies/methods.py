"""Every method at the same budgets on the bundled models and the held-out scenes, with the shipped profiles.

    make methods            # or: python -m data_samples.studies.methods --model tiny-llava
    make methods-tuned      # or: python -m data_samples.studies.methods --tuned
    python -m data_samples.studies.methods --update       # after a calibration: a few minutes

Tuned methods have the settings that are best at each budget on the 100 scenes that a calibration draws, which takes
about 25 minutes of CPU time more for each model.

The whole records, with the page that shows them, go to runs/methods; without the single answers they are
data_samples/methods, which the table of docs/results.md comes from. A run that was stopped goes on where it was. The
models run side by side, each in a process of one thread.

With `--update`, what is measured is the full model and plans that are not in the shipped records; the rows of the
others stay as they are. So it is with tuned methods, whose settings are mostly the default ones. Scenes, dtype and
versions have to be the same.
"""

import sys
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Annotated, NamedTuple

import typer

from cli.common import load_quietly
from data_samples.studies.results import PROFILES
from data_samples.studies.tables import markdown, write_table
from data_samples.studies.visipruner import with_visipruner
from halfv_core import Profile
from halfv_core.bundled import BUNDLED
from halfv_core.models import bundled_models
from probe import load_samples
from probe.data.draw import draw_readable
from probe.evaluation.methods import MethodComparison, Row, compare_methods
from probe.evaluation.methods.tuning import TuningSet, tuning_journal
from probe.report.methods_page import write_methods_page
from probe.report.methods_words import verdicts

DATA = "scenes-heldout"
TUNED_ON = "scenes"
TUNING_SAMPLES = 100
TUNING_SEED = 0
BUDGETS = (2.0, 3.0, 4.0)
BATCH = 10
PAGE = Path(__file__).parents[2] / "docs" / "results.md"


class Study(NamedTuple):
    """A comparison of methods on all bundled models, and where it goes."""

    command: str
    output: Path
    records: Path
    tuned: bool = False


DEFAULTS = Study("make methods", Path("runs/methods"), BUNDLED / "methods")
TUNED = Study("make methods-tuned", Path("runs/methods-tuned"), BUNDLED / "methods" / "tuned", tuned=True)


def main(
    model: Annotated[list[str] | None, typer.Option(help="May be repeated. [default: all bundled models]")] = None,
    tuned: Annotated[bool, typer.Option("--tuned", help="Choose each method's settings at each budget first.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Measure only what differs from the records.")] = False,
) -> None:
    """Run all methods, and write the records, the page and the table."""
    models, study = model or sorted(bundled_models()), TUNED if tuned else DEFAULTS
    if tuned and update:
        raise typer.BadParameter("settings are chosen anew each time", param_hint="--update")
    running = [get_context("spawn").Process(target=compare, args=(name, study, update)) for name in models]
    for process in running:
        process.start()
    for process in running:
        process.join()
    if any(process.exitcode for process in running):
        raise typer.Exit(1)
    found = [MethodComparison.load(study.output / f"{name}.json") for name in models]
    study.records.mkdir(exist_ok=True)
    for one in found:
        one.without_questions().save(study.records / f"{one.model_id}.json")
        _journal(study, one.model_id).unlink()
        tuning_journal(_journal(study, one.model_id)).unlink(missing_ok=True)
    write_methods_page(found, study.output / "methods.html")
    write_table(study.command, table(read_records(study)), PAGE)


def compare(model: str, study: Study = DEFAULTS, update: bool = False) -> None:
    """Run methods on one bundled model, and write the record into the folder of runs. The journal stays."""
    loaded = load_quietly(model, "auto", "cpu", False)
    profile = with_visipruner(Profile.load(PROFILES / f"{model}.json"))
    earlier = MethodComparison.load(DEFAULTS.records / f"{model}.json") if update or study.tuned else None
    tuning, options = None, {}
    if study.tuned:
        drawn, _ = draw_readable(load_samples(TUNED_ON), TUNING_SAMPLES, TUNING_SEED)
        tuning = TuningSet(drawn, TUNED_ON, TUNING_SEED)
        options = {"tune_on": TUNED_ON}
    found = compare_methods(
        loaded.model,
        loaded.processor,
        load_samples(DATA),
        budgets=BUDGETS,
        profile=profile,
        tuning=tuning,
        earlier=earlier,
        batch=BATCH,
        model_id=model,
        profile_id=f"{model}.json",
        data=DATA,
        arguments={"model": model, "data": DATA, "flops": "2,3,4", "batch": BATCH, "profile": f"{model}.json"}
        | options,
        journal=_journal(study, model),
        on_progress=_progress(model),
    )
    found.save(study.output / f"{model}.json")


def _journal(study: Study, model: str) -> Path:
    return study.output / f"{model}.json.unfinished"


def read_records(study: Study = DEFAULTS) -> list[MethodComparison]:
    """The shipped comparisons, by model."""
    return [MethodComparison.load(path) for path in sorted(study.records.glob("*.json"), key=lambda path: path.stem)]


def table(records: Sequence[MethodComparison]) -> str:
    """Markdown: what each method keeps of the full model's accuracy at each budget, what that means, and what is
    missing; empty without records."""
    if not records:
        return ""
    names = sorted({row.method for one in records for row in one.rows if row.budget}, key=_order(records))
    head = ["method", *(f"`{one.model_id}`, {budget:g}x" for one in records for budget in one.budgets)]
    full = ["full model: accuracy", *(f"{one.full.accuracy:.3f}" for one in records for _ in one.budgets)]
    rows = [[f"`{name}`", *(_cell(one, name, budget) for one in records for budget in one.budgets)] for name in names]
    parts = (
        markdown(head, [full, *rows]).rstrip("\n"),
        _uncertainty(records),
        _findings(records),
        _settings(records),
        _others(records),
        _missing(records),
    )
    return "\n\n".join(part.rstrip("\n") for part in parts if part) + "\n"


def _order(records: Sequence[MethodComparison]) -> Callable[[str], tuple[bool, float, str]]:
    """Controls last; of the others, those that keep most over all models and budgets first, and equal ones by name."""
    kept: dict[str, list[float]] = {}
    controls = set()
    for row in (row for one in records for row in one.rows if row.budget):
        kept.setdefault(row.method, []).append(row.retention or 0.0)
        controls |= {row.method} if row.is_control else set()
    return lambda name: (name in controls, -sum(kept[name]) / len(kept[name]), name)


def _cell(one: MethodComparison, name: str, budget: float) -> str:
    rows = [row for row in one.rows if row.budget == budget]
    row = next((row for row in rows if row.method == name), None)
    if row is None or row.retention is None:
        return "-"
    text = f"{row.retention:.1%}"
    return f"**{text}**" if row.retention == max(other.retention or 0.0 for other in rows) else text


def _uncertainty(records: Sequence[MethodComparison]) -> str:
    halves = [
        (row.retention_interval[1] - row.retention_interval[0]) / 2
        for one in records
        for row in one.rows
        if row.retention_interval and row.budget
    ]
    samples = records[0].samples
    return (
        f"{samples} scenes; the best of each column is bold. The 95 % intervals are {median(halves):.1%} to each side, "
        f"as a median, and {max(halves):.1%} at most: smaller differences mean nothing."
    )


def _findings(records: Sequence[MethodComparison]) -> str:
    return "".join(f"- `{one.model_id}`: {sentence}\n" for one in records for sentence in verdicts(one))


def _settings(records: Sequence[MethodComparison]) -> str:
    """What tuning set otherwise than by default; empty without tuning."""
    lines = []
    for one in records:
        changed = [f"{row.label} {row.setting}" for row in one.rows if row.setting and row.budget]
        if one.tuned_on is not None:
            on = f"{one.tuned_on.samples} of `{one.tuned_on.data}`"
            lines.append(f"- `{one.model_id}`, tuned on {on}: {'; '.join(changed) or 'the defaults are best'}.\n")
    return "Settings that tuning chose; all others are the defaults:\n\n" + "".join(lines) if lines else ""


def _others(records: Sequence[MethodComparison]) -> str:
    """Methods with settings of their own, at none of the budgets."""
    rows = [
        (one, row)
        for one in records
        for row in one.rows[1:]
        if row.budget is None and not row.method.startswith("profile")
    ]
    if not rows:
        return ""
    return f"With settings of their own: {', '.join(_own(one, row) for one, row in rows)}.\n"


def _own(one: MethodComparison, row: Row) -> str:
    kept = "-" if row.retention is None else f"{row.retention:.1%}"
    return f"`{row.label}` keeps {kept} at {row.flops_ratio:.2f}x (`{one.model_id}`)"


def _missing(records: Sequence[MethodComparison]) -> str:
    """What was not run, and why; the same reason once."""
    where: dict[tuple[str, str], list[str]] = {}
    for one in records:
        for refusal in one.refused:
            at = one.model_id if refusal.budget is None else f"{one.model_id} at {refusal.budget:g}x"
            where.setdefault((refusal.method, refusal.reason), []).append(at)
    lines = [f"- `{method}` on {', '.join(places)}: {reason}\n" for (method, reason), places in where.items()]
    return "Not run:\n\n" + "".join(lines) if lines else ""


def _progress(model: str) -> Callable[[str, int, int], None]:
    """A line on stderr now and then, since several models share it."""

    def report(step: str, done: int, total: int) -> None:
        if done in (0, total) or (step == "samples" and done % (3 * BATCH) == 0):
            print(f"{model}: {step} {done} of {total}", file=sys.stderr, flush=True)

    return report


if __name__ == "__main__":
    typer.run(main)
