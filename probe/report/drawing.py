"""A chart prepared for the page: its figure, its texts, and its numbers as cells of an HTML table."""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go
from markupsafe import Markup

from probe.report.figures import CHARTS, Cell, Chart, Subject, Table

WIDE_TEXT = 40
"""A text with more characters than this gets a wide column."""
DIGITS = 6
"""Significant digits of the numbers shown; downloads have all digits."""


class Drawing(NamedTuple):
    """One chart of the page."""

    id: str
    title: str
    caption: str
    alt: str
    """Text alternative to the figure."""
    figure: go.Figure
    table: Table | None
    table_id: str
    """Id of the chart that holds the table; an earlier one if both have the same numbers."""
    file: str
    """File name of its downloads, without the extension."""

    @property
    def holds_table(self) -> bool:
        """Whether the table is shown below this chart."""
        return self.table is not None and self.table_id == self.id

    @property
    def height(self) -> int:
        """Height in pixels, reserved in advance so that the page does not jump when the chart is drawn."""
        return int(self.figure.layout.height or 450)

    @property
    def rows(self) -> list[Markup]:
        """The rows of the table as HTML cells; the first cell of each is a row heading."""
        rows = self.table.rows if self.table else ()
        return [Markup("").join(map(_cell, row, (True, *(False,) * (len(row) - 1)))) for row in rows]

    @property
    def head(self) -> Markup:
        """The column headings as HTML cells."""
        columns = self.table.columns if self.table else ()
        cells = zip(columns, zip(*self.table.rows, strict=True), strict=True) if self.table and self.table.rows else ()
        numeric = {column for column, values in cells if all(value is None or _is_number(value) for value in values)}
        return Markup("").join(
            Markup('<th scope="col"{}>{}</th>').format(_number_class(column in numeric), column) for column in columns
        )


def drawings(subjects: Sequence[Subject], prefix: str, *, many: bool = False) -> dict[str, Drawing]:
    """Name -> drawing, for the charts that have something to show; with `many`, only charts that compare subjects."""
    drawn: dict[str, Drawing] = {}
    tables: dict[Table | None, str] = {}
    for chart in CHARTS.values():
        figure = chart.make(subjects) if chart.many or not many else None
        if figure is not None:
            drawing = _drawing(chart, figure, subjects, prefix)
            drawn[chart.name] = drawing._replace(table_id=tables.setdefault(drawing.table, drawing.id))
    return drawn


def file_name(*parts: str) -> str:
    """The parts joined by hyphens, without characters that are special to file systems or shells."""
    return "-".join(re.sub(r"[^\w.]+", "-", part).strip("-.") for part in parts)


def _drawing(chart: Chart, figure: go.Figure, subjects: Sequence[Subject], prefix: str) -> Drawing:
    profiles = [subject.profile for subject in subjects]
    summaries = [(profile.provenance.model_id, chart.summary(profile)) for profile in profiles]
    single = len(profiles) == 1
    alt = " ".join(summary if single else f"{name}: {summary}" for name, summary in summaries if summary)
    owner = profiles[0].provenance.model_id if single else "comparison"
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


def _cell(value: Cell, is_heading: bool) -> Markup:
    """An HTML cell, with the exact value as JSON in an attribute if the shown text is not exact."""
    if isinstance(value, bool):
        shown, needs_value = "yes" if value else "no", True
    else:
        shown = f"{value:.{DIGITS}g}" if isinstance(value, float) else "" if value is None else str(value)
        needs_value = isinstance(value, float) and float(shown) != value
    tag = Markup('th scope="row"') if is_heading else Markup("td")
    wide = isinstance(value, str) and len(value) > WIDE_TEXT
    css_class = Markup(' class="wide-text"') if wide else _number_class(value is None or _is_number(value))
    data = Markup(' data-value="{}"').format(json.dumps(value)) if needs_value else ""
    return Markup("<{}{}{}>{}</{}>").format(tag, css_class, data, shown, tag[:2])


def _number_class(number: bool) -> Markup:
    return Markup(' class="number"') if number else Markup("")


def _is_number(value: Cell) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
