"""The charts as files: data as CSV or JSON, pictures as PNG or SVG (needs kaleido and a Chromium or Chrome).

export({"profile": Subject(profile)}, "csv", Path("figures"))        # figures/profile-entropy.csv, ...
"""

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import plotly.graph_objects as go
import plotly.io

from halfv_core.errors import HalfVError
from halfv_core.profile import write_atomically
from probe.report.figures import CHARTS, Cell, Chart, Subject, Table
from probe.report.figures._style import names, plain

Format = Literal["png", "svg", "csv", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)
COMPARISON = "comparison"
"""What the files of charts that show several subjects begin with."""
WIDTH = 1000


class Drawing(NamedTuple):
    """One chart of one or several subjects, and the file name it gets, without ending."""

    stem: str
    chart: Chart
    subjects: Sequence[Subject]


def export(
    subjects: Mapping[str, Subject], format: Format, folder: Path, charts: Sequence[Chart] = tuple(CHARTS.values())
) -> list[Path]:
    """Write each chart that has something to show, each file whole or not at all.

    Args:
        subjects: by what their files' names begin with.

    Returns:
        the files, in the order of `charts`, subject by subject.

    Raises:
        HalfVError: a picture is wanted, but what draws it is missing.
    """
    drawings = list(_drawings(subjects, charts))
    if format in ("png", "svg"):
        return _write_pictures(drawings, format, folder)
    paths = []
    for drawing in drawings:
        table = drawing.chart.table(drawing.subjects)
        assert table is not None  # as it has a figure
        path = folder / f"{drawing.stem}.{format}"
        write_atomically(path, as_csv(table) if format == "csv" else as_json(drawing.chart, table))
        paths.append(path)
    return paths


def as_csv(table: Table) -> str:
    """A header row, then the rows; nothing stands for null, and text that a spreadsheet would calculate is quoted."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([map(_field, row) for row in (table.columns, *table.rows)])
    return text.getvalue()


def _field(value: Cell) -> Cell:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def as_json(chart: Chart, table: Table) -> str:
    """The table with the chart's words."""
    words = {"chart": chart.name, "title": chart.title, "caption": chart.caption}
    return json.dumps({**words, "columns": table.columns, "rows": table.rows}, ensure_ascii=False, indent=1) + "\n"


def for_paper(chart: Chart, subjects: Sequence[Subject]) -> go.Figure:
    """The figure as a picture of its own: titled, on white, without buttons."""
    figure = chart.make(subjects)
    assert figure is not None  # or it would not have been asked for
    whose = plain(names(subjects)[0]) if len(subjects) == 1 else f"{len(subjects)} models"
    title = {"text": f"{chart.title} ({whose})", "x": 0.01, "xanchor": "left", "yref": "container", "y": 1}
    figure.layout.updatemenus = ()
    figure.update_layout(paper_bgcolor="white", plot_bgcolor="white", font={"color": "#1B1F24"})
    figure.update_layout(title={**title, "yanchor": "top", "pad": {"t": 14}, "font": {"size": 18}})
    figure.update_layout(width=WIDTH, height=figure.layout.height + 40, margin_t=max(64, figure.layout.margin.t + 24))
    return figure


def _drawings(subjects: Mapping[str, Subject], charts: Sequence[Chart]) -> Iterator[Drawing]:
    groups: list[tuple[str, list[Subject]]] = [(stem, [subject]) for stem, subject in subjects.items()]
    if len(subjects) > 1:
        groups.append((COMPARISON, list(subjects.values())))
    for stem, group in groups:
        for chart in charts:
            if (len(group) == 1 or chart.many) and chart.make(group) is not None:
                yield Drawing(f"{stem}-{chart.name}", chart, group)


def _write_pictures(drawings: Sequence[Drawing], format: str, folder: Path) -> list[Path]:
    remedy = "or export csv or json, which need neither"
    if find_spec("kaleido") is None:
        raise HalfVError(
            f"cannot draw {format}",
            got="no package kaleido",
            expected="the optional pictures part",
            remedy=f"`pip install 'halfv-probe[pictures]'`, {remedy}",
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".pictures.") as aside:
        drawn = [Path(aside) / f"{drawing.stem}.{format}" for drawing in drawings]
        figures = [for_paper(drawing.chart, drawing.subjects) for drawing in drawings]
        try:
            _draw(figures, drawn, scale=2 if format == "png" else 1)
        except RuntimeError as error:
            if "Chrome" not in str(error):
                raise
            raise HalfVError(
                f"cannot draw {format}",
                got="no browser that kaleido can find",
                expected="Chromium or Chrome",
                remedy=f"install one, or set BROWSER_PATH, {remedy}",
            ) from None
        for path in drawn:
            os.replace(path, folder / path.name)
    return [folder / path.name for path in drawn]


def _draw(figures: list[go.Figure], paths: list[Path], **options: Any) -> None:
    """All in one browser, which takes seconds to start."""
    if figures:
        # Without these plotly takes sizes of its own.
        sizes = {"width": WIDTH, "height": [figure.layout.height for figure in figures]}
        plotly.io.write_images(figures, paths, **sizes, **options)
