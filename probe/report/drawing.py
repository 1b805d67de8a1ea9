"""A chart as the page holds it: its figure, its words, and its numbers in the cells of a table."""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go
from markupsafe import Markup

from probe.report.figures import CHARTS, Cell, Chart, Subject, Table

WORDS = 40
"""Letters from which on a text needs a wide column."""
DIGITS = 6
"""Significant digits of a number that is shown; a download has all of them."""


class Drawing(NamedTuple):
    """One chart of the page."""

    id: str
    title: str
    caption: str
    alt: str
    """What it shows, for those who do not see it."""
    figure: go.Figure
    table: Table | None
    table_id: str
    """Of the chart that holds the table: an earlier one where both have the same numbers."""
    file: str
    """Name of its downloads, without the ending."""

    @property
    def holds_table(self) -> bool:
        """Whether its table stands below it."""
        return self.table is not None and self.table_id == self.id

    @property
    def height(self) -> int:
        """Pixels, so that the page does not jump when it is drawn."""
        return int(self.figure.layout.height or 450)

    @property
    def rows(self) -> list[Markup]:
        """The rows of the table as HTML cells, the first of each as its heading."""
        rows = self.table.rows if self.table else ()
        return [Markup("").join(map(_cell, row, (True, *(False,) * (len(row) - 1)))) for row in rows]

    @property
    def head(self) -> Markup:
        """The column headings."""
        columns = self.table.columns if self.table else ()
        cells = zip(columns, zip(*self.table.rows, strict=True), strict=True) if self.table and self.table.rows else ()
        numeric = {column for column, values in cells if all(value is None or _is_number(value) for value in values)}
        return Markup("").join(
            Markup('<th scope="col"{}>{}</th>').format(_number_class(column in numeric), column) for column in columns
        )


def drawings(subjects: Sequence[Subject], prefix: str, *, many: bool = False) -> dict[str, Drawing]:
    """By name, the charts that have something to show; with `many` those that compare."""
    drawn: dict[str, Drawing] = {}
    tables: dict[Table | None, str] = {}
    for chart in CHARTS.values():
        figure = chart.make(subjects) if chart.many or not many else None
        if figure is not None:
            drawing = _drawing(chart, figure, subjects, prefix)
            drawn[chart.name] = drawing._replace(table_id=tables.setdefault(drawing.table, drawing.id))
    return drawn


def file_name(*parts: str) -> str:
    """The parts joined, with nothing that a file system or a shell could mind."""
    return "-".join(re.sub(r"[^\w.]+", "-", part).strip("-.") for part in parts)


def _drawing(chart: Chart, figure: go.Figure, subjects: Sequence[Subject], prefix: str) -> Drawing:
    profiles = [subject.profile for subject in subjects]
    said = [(profile.provenance.model_id, chart.summary(profile)) for profile in profiles]
    alone = len(profiles) == 1
    alt = " ".join(words if alone else f"{name}: {words}" for name, words in said if words)
    owner = profiles[0].provenance.model_id if alone else "comparison"
    id = f"{prefix}-{chart.name.replace('_', '-')}"
    return Drawing(
        id=id,
        title=chart.title,
        caption=chart.caption,
        alt=f"{chart.title}. {alt}".strip(),
        figure=figure,
        table=chart.table(subjects),
        table_id=id,
        file=file_name(owner, chart.name),
    )


def _cell(value: Cell, heads: bool) -> Markup:
    """What is shown, and beside it the value itself as JSON where that is more."""
    if isinstance(value, bool):
        shown, exact = "yes" if value else "no", True
    else:
        shown = f"{value:.{DIGITS}g}" if isinstance(value, float) else "" if value is None else str(value)
        exact = isinstance(value, float) and float(shown) != value
    tag = Markup('th scope="row"') if heads else Markup("td")
    wide = isinstance(value, str) and len(value) > WORDS
    kind = Markup(' class="words"') if wide else _number_class(value is None or _is_number(value))
    data = Markup(' data-value="{}"').format(json.dumps(value)) if exact else ""
    return Markup("<{}{}{}>{}</{}>").format(tag, kind, data, shown, tag[:2])


def _number_class(number: bool) -> Markup:
    return Markup(' class="number"') if number else Markup("")


def _is_number(value: Cell) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
