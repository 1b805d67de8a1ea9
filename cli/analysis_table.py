"""The summary of an analysis: for each probe its question, and each series at the first, middle and last layer."""

from rich.markup import escape
from rich.table import Table

from probe.analysis.records import Analysis
from probe.analyzers.findings import AnyFinding, Bars, LayerSeries


def analysis_table(analysis: Analysis) -> Table:
    """One row for each curve and each bar; what is by head, token or sample is in the file."""
    measured = len(analysis.sample_ids)
    title = f"{analysis.provenance.model_id}, {analysis.layers} layers, {measured} samples"
    table = Table(box=None, pad_edge=False, title=escape(title))
    table.add_column("probe", no_wrap=True)
    table.add_column("what")
    for name in ("first layer", "middle", "last", "mean"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in analysis.results:
        name = escape(result.name)
        for finding in result.findings:
            for row in _rows(finding):
                table.add_row(name, *map(escape, row))
                name = ""
        if name:
            table.add_row(name, escape(result.title), "", "", "", "")
        table.add_section()
    return table


def _rows(finding: AnyFinding) -> list[tuple[str, ...]]:
    unit = f", {finding.unit}" if finding.unit else ""
    if isinstance(finding, LayerSeries):
        what = f"{finding.title}{f' ({finding.group})' if finding.group else ''}{unit}"
        values = (finding.mean[0], finding.mean[len(finding.mean) // 2], finding.mean[-1])
        return [(what, *map(_number, values), _number(sum(finding.mean) / len(finding.mean)))]
    if isinstance(finding, Bars):
        return [
            (f"{finding.title}: {condition}{unit}", "", "", "", _number(mean))
            for condition, mean in zip(finding.conditions, finding.mean, strict=True)
        ]
    return []


def _number(value: float) -> str:
    return f"{value:.3g}"
