"""Comparisons of methods as one self-contained HTML page that opens no connection: verdict, chart, table, refusals.

write_methods_page([MethodComparison.load("methods.json")], "methods.html")
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from halfv_core.files import write_atomically
from probe.evaluation.methods import MethodComparison
from probe.report.command import command_line
from probe.report.drawing import Drawing, file_name
from probe.report.filling import filled
from probe.report.methods_chart import TITLE, Line, figure, lines, table
from probe.report.methods_words import not_run, verdicts

CAPTION = (
    "Each point is a method at a budget: how many times fewer FLOPs its prefill took, and how much of the full model's "
    "accuracy it keeps. Grey lines are the controls, and the grey area is their 95 % interval: the floor that a method "
    "has to be above. Intervals are 95 % bootstrap intervals, paired over all methods."
)


class Model(NamedTuple):
    """Everything that the page shows about one comparison."""

    id: str
    comparison: MethodComparison
    verdicts: list[str]
    not_run: list[str]
    chart: Drawing
    lines: list[Line]
    command: str


def render_methods(comparisons: Sequence[MethodComparison]) -> str:
    """Render the page; the same comparisons always give the same text."""
    models = [_model(comparison, f"m{index}") for index, comparison in enumerate(comparisons, start=1)]
    single = len(models) == 1
    return filled(
        "methods.html",
        [model.chart for model in models],
        more_scripts=("methods.js",),
        title=f"Methods on {models[0].comparison.model_id}" if single else f"Methods on {len(models)} models",
        models=models,
        single=single,
    )


def write_methods_page(comparisons: Sequence[MethodComparison], path: str | Path) -> None:
    """Render the page and write it atomically."""
    write_atomically(Path(path), render_methods(comparisons))


def _model(comparison: MethodComparison, id: str) -> Model:
    given = {"model": comparison.model_id, "data": comparison.data} | comparison.arguments_given
    words = verdicts(comparison)
    return Model(
        id=id,
        comparison=comparison,
        verdicts=words,
        not_run=not_run(comparison),
        chart=Drawing(
            id=f"{id}-methods",
            title=TITLE,
            caption=CAPTION,
            alt=f"{TITLE}. {' '.join(words)}".strip(),
            figure=figure(comparison),
            table=table(comparison),
            table_id=f"{id}-methods",
            file=file_name(comparison.model_id, "methods"),
        ),
        lines=lines(comparison),
        command=command_line("compare-methods", given),
    )
