"""Exports charts as files: data as CSV or JSON, pictures as PNG, SVG or PDF (needs kaleido and Chromium or Chrome).

export({"profile": Subject(profile)}, "csv", Path("figures"))        # figures/profile-entropy.csv, ...
"""

import csv
import io
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import plotly.graph_objects as go
import plotly.io

from halfv_core.errors import HalfVError
from halfv_core.files import write_atomically
from probe.report.figures import CHARTS, Cell, Chart, Subject, Table
from probe.report.figures._style import escaped, model_names

Format = Literal["png", "svg", "pdf", "csv", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)
COMPARISON = "comparison"
"""Prefix of the files of charts that compare several subjects."""
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""First characters of text that a spreadsheet may calculate."""
PICTURES: tuple[Format, ...] = ("png", "svg", "pdf")
WIDTHS = {"png": 1000, "svg": 1000, "pdf": 650}
"""Width of pictures, pixels; a PDF is as wide as the text of a paper, so that its letters are as large."""


class ExportedChart(NamedTuple):
    """One chart, with its file name without extension."""

    stem: str
    name: str
    title: str
    caption: str
    owner: str
    """The model, or how many of them."""
    figure: go.Figure
    table: Table


def export(
    subjects: Mapping[str, Subject], format: Format, folder: Path, charts: Sequence[Chart] = tuple(CHARTS.values())
) -> list[Path]:
    """Write each chart that has something to show; every file is written atomically.

    Args:
        subjects: file name prefix -> subject.

    Returns:
        The files, in the order of `charts` for each subject.

    Raises:
        HalfVError: two charts would have the same file, or kaleido or a browser is missing for a picture.
    """
    exported = list(_exported_charts(subjects, charts))
    _check_different(exported)
    return write_charts(exported, format, folder)


def write_charts(exported: Sequence[ExportedChart], format: Format, folder: Path) -> list[Path]:
    """Write charts, each atomically.

    Returns:
        The files, in the order of the charts.

    Raises:
        HalfVError: kaleido or a browser is missing for a picture.
    """
    if format in PICTURES:
        return _write_pictures(exported, format, folder)
    paths = []
    for item in exported:
        path = folder / f"{item.stem}.{format}"
        write_atomically(path, as_csv(item.table) if format == "csv" else as_json(item))
        paths.append(path)
    return paths


def chart_files(prefixes: Sequence[str], formats: Sequence[Format], folder: Path) -> Iterator[Path]:
    """All files that `export` may write for subjects with these file name prefixes."""
    for prefix in [*prefixes, COMPARISON] if len(prefixes) > 1 else prefixes:
        yield from (folder / f"{prefix}-{name}.{format}" for name in CHARTS for format in formats)


def as_csv(table: Table) -> str:
    """The table as CSV with a header row; null is an empty field, and text that looks like a formula is quoted."""
    return "".join(map(_csv_line, (table.columns, *table.rows)))


def _csv_line(row: Sequence[Cell]) -> str:
    """One row. It is written with CR LF at its end, because csv quotes only the line ends that it uses itself."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(map(_field, row))
    return text.getvalue().removesuffix("\r\n") + "\n"


def _field(value: Cell) -> Cell:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def as_json(item: ExportedChart) -> str:
    """The table as JSON, with the chart's name, title and caption."""
    texts = {"chart": item.name, "title": item.title, "caption": item.caption}
    rows = {"columns": item.table.columns, "rows": item.table.rows}
    return json.dumps({**texts, **rows}, ensure_ascii=False, indent=1) + "\n"


def for_paper(item: ExportedChart, width: int = WIDTHS["png"]) -> go.Figure:
    """The figure as a standalone picture: with a title, on white, without buttons."""
    figure = go.Figure(item.figure)
    title = {"text": f"{item.title} ({escaped(item.owner)})", "x": 0.01, "xanchor": "left", "yref": "container", "y": 1}
    size = 18 if width >= WIDTHS["png"] else 14
    figure.layout.updatemenus = ()
    figure.update_layout(paper_bgcolor="white", plot_bgcolor="white", font={"color": "#1B1F24"})
    figure.update_layout(title={**title, "yanchor": "top", "pad": {"t": 14}, "font": {"size": size}})
    figure.update_layout(width=width, height=figure.layout.height + 40, margin_t=max(64, figure.layout.margin.t + 24))
    return figure


def _exported_charts(subjects: Mapping[str, Subject], charts: Sequence[Chart]) -> Iterator[ExportedChart]:
    groups: list[tuple[str, list[Subject]]] = [(stem, [subject]) for stem, subject in subjects.items()]
    if len(subjects) > 1:
        groups.append((COMPARISON, list(subjects.values())))
    for stem, group in groups:
        for chart in charts:
            figure = chart.make(group) if len(group) == 1 or chart.many else None
            if figure is not None:
                table = chart.table(group)
                assert table is not None  # a chart with a figure has a table
                owner = model_names(group)[0] if len(group) == 1 else f"{len(group)} models"
                yield ExportedChart(
                    f"{stem}-{chart.name}", chart.name, chart.title, chart.caption, owner, figure, table
                )


def _check_different(exported: Sequence[ExportedChart]) -> None:
    """Refuse names of subjects with which one chart would overwrite another, also where case does not matter."""
    for stem, times in Counter(item.stem.casefold() for item in exported).items():
        if times > 1:
            raise HalfVError(
                f"{times} charts would be written to the same file",
                got=stem,
                expected=f"a name for each subject, and none called {COMPARISON} among several",
                remedy="choose other names",
            )


def _write_pictures(exported: Sequence[ExportedChart], format: str, folder: Path) -> list[Path]:
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
        drawn = [Path(aside) / f"{item.stem}.{format}" for item in exported]
        figures = [for_paper(item, WIDTHS[format]) for item in exported]
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
            write_atomically(folder / path.name, path.read_bytes())
    return [folder / path.name for path in drawn]


def _draw(figures: list[go.Figure], paths: list[Path], **options: Any) -> None:
    """Draw all figures in one browser, since that takes seconds to start."""
    if figures:
        # plotly would otherwise use its default sizes.
        sizes = {"width": figures[0].layout.width, "height": [figure.layout.height for figure in figures]}
        plotly.io.write_images(figures, paths, **sizes, **options)
