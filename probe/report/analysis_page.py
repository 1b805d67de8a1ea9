"""An analysis as one self-contained HTML page that opens no connection: stages, one section for each probe, examples.

write_analysis_page(Analysis.load("analysis.json"), "analysis.html")      # or: halfv-probe plot analysis.json
"""

from pathlib import Path
from typing import NamedTuple

from halfv_core.files import write_atomically
from probe.analysis.records import Analysis, ProbeResult
from probe.report.analysed_examples import OfExample, cards
from probe.report.command import command_line
from probe.report.drawing import Drawing, file_name
from probe.report.embed import as_data
from probe.report.filling import filled
from probe.report.findings import Depth, FindingChart, charts_of
from probe.report.labels import stage_spans
from probe.report.two_stories import FINDING, PROBE, TwoStories, two_stories

STORIES_ID = "stories"


class Section(NamedTuple):
    """One probe."""

    id: str
    result: ProbeResult
    charts: list[Drawing]
    on_images: bool
    """Whether some of its findings are shown on the examples."""


def render_analysis(analysis: Analysis) -> str:
    """Render the page; the same analysis always gives the same text."""
    stories, shown = two_stories(analysis), cards(analysis)
    sections = _sections(analysis)
    above = [] if stories is None else [_stories(analysis, stories)]
    data = {f"{card.id}-data": as_data(card.data) for card in shown}
    if stories is not None:
        data[f"{STORIES_ID}-data"] = as_data({"cosines": stories.cosines.values, "halfv": stories.halfv})
    where = analysis.provenance
    return filled(
        "analysis.html",
        [*above, *(chart for section in sections for chart in section.charts)],
        more_scripts=("examples.js", "two_stories.js"),
        title=where.model_id,
        analysis=analysis,
        where=where,
        spans=[] if analysis.stages is None else stage_spans(analysis.stages, analysis.layers),
        stories=stories,
        above=above,
        sections=sections,
        cards=shown,
        data=data,
        command=command_line("analyze", {"model": where.model_id, "data": where.data} | where.arguments_given),
    )


def drawings_of(analysis: Analysis) -> list[Drawing]:
    """All charts of the page, in their order on it."""
    stories = two_stories(analysis)
    above = [] if stories is None else [_stories(analysis, stories)]
    return [*above, *(chart for section in _sections(analysis) for chart in section.charts)]


def write_analysis_page(analysis: Analysis, path: str | Path) -> None:
    """Render the page and write it atomically."""
    write_atomically(Path(path), render_analysis(analysis))


def _sections(analysis: Analysis) -> list[Section]:
    return [_section(analysis, result, f"p{number}") for number, result in enumerate(analysis.results, 1)]


def _section(analysis: Analysis, result: ProbeResult, id: str) -> Section:
    charts = charts_of(result, Depth(analysis.layers, analysis.stages), analysis.sample_ids)
    return Section(
        id=id,
        result=result,
        charts=[
            _drawing(analysis, result, chart, f"{id}-{number}")
            for number, chart in enumerate(charts, 1)
            if (result.name, chart.name) != (PROBE, FINDING)  # which is shown with the stages
        ],
        on_images=any(isinstance(finding, OfExample) for finding in result.findings),
    )


def _drawing(analysis: Analysis, result: ProbeResult, chart: FindingChart, id: str) -> Drawing:
    return Drawing(
        id=id,
        title=chart.title,
        caption=chart.caption,
        alt=f"{chart.title}. {chart.summary}",
        figure=chart.figure,
        table=chart.table,
        table_id=id,
        file=file_name(analysis.provenance.model_id, result.name, chart.name),
    )


def _stories(analysis: Analysis, stories: TwoStories) -> Drawing:
    return Drawing(
        id=STORIES_ID,
        title=stories.title,
        caption=stories.caption,
        alt=f"{stories.title} on one layer axis, with filter and exit layers of {stories.samples} samples.",
        figure=stories.figure,
        table=stories.table,
        table_id=STORIES_ID,
        file=file_name(analysis.provenance.model_id, "stages"),
    )
