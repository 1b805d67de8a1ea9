"""Exports an analysis as files: all numbers of each probe as CSV or JSON, each chart as PNG, SVG or PDF.

export_analysis(Analysis.load("analysis.json"), "analysis", "csv", Path("figures"))     # figures/analysis-lens.csv, ...
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from halfv_core.files import write_atomically
from probe.analysis.records import COLUMNS, Analysis, ProbeResult
from probe.report.analysis_page import drawings_of
from probe.report.drawing import Drawing, file_name
from probe.report.export import PICTURES, ExportedChart, Format, as_csv, write_charts
from probe.report.figures import Table


def export_analysis(analysis: Analysis, prefix: str, format: Format, folder: Path) -> list[Path]:
    """Write the files, each atomically.

    Args:
        prefix: beginning of their names.

    Raises:
        HalfVError: kaleido or a browser is missing for a picture.
    """
    if format in PICTURES:
        return write_charts(list(_pictures(analysis, prefix)), format, folder)
    paths = []
    for result in analysis.results:
        path = folder / f"{prefix}-{result.name}.{format}"
        text = as_csv(numbers_of(analysis, result)) if format == "csv" else result.model_dump_json(indent=1) + "\n"
        write_atomically(path, text)
        paths.append(path)
    return paths


def analysis_files(analysis: Analysis, prefix: str, formats: Sequence[Format], folder: Path) -> Iterator[Path]:
    """All files that `export_analysis` writes."""
    for format in formats:
        names = (
            [_stem(analysis, prefix, drawing) for drawing in drawings_of(analysis)]
            if format in PICTURES
            else [f"{prefix}-{result.name}" for result in analysis.results]
        )
        yield from (folder / f"{name}.{format}" for name in names)


def numbers_of(analysis: Analysis, result: ProbeResult) -> Table:
    """The rows of a probe in `Analysis.to_frame`, without the columns that say nothing of it."""
    frame = analysis.model_copy(update={"results": (result,)}).to_frame()
    used = [name for name in COLUMNS if frame[name].notna().any()]
    rows = frame[used].astype(object).where(frame[used].notna(), None).to_numpy().tolist()
    return Table(tuple(used), tuple(map(tuple, rows)))


def _pictures(analysis: Analysis, prefix: str) -> Iterator[ExportedChart]:
    for drawing in drawings_of(analysis):
        yield ExportedChart(
            stem=_stem(analysis, prefix, drawing),
            name=drawing.id,
            title=drawing.title,
            caption=drawing.caption,
            owner=analysis.provenance.model_id,
            figure=drawing.figure,
            table=drawing.table or Table((), ()),
        )


def _stem(analysis: Analysis, prefix: str, drawing: Drawing) -> str:
    return prefix + drawing.file.removeprefix(file_name(analysis.provenance.model_id))
