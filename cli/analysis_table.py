"""The summary of an analysis: each curve of each probe at the first, middle and last layer."""

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
    table.add_column("finding", no_wrap=True)
    table.add_column("unit")
    for name in ("first layer", "middle", "last", "mean"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in analysis.results:
        name = escape(result.name)
        for finding in result.findings:
            for row in _rows(finding):
                table.add_row(name, *map(escape, row))
                name = ""
        if name:
            table.add_row(name, "in the file", "", "", "", "", "")
        table.add_section()
    return table


def _rows(finding: AnyFinding) -> list[tuple[str, ...]]:
    if isinstance(finding, LayerSeries):
        values = (finding.mean[0], finding.mean[len(finding.mean) // 2], finding.mean[-1])
        return [(finding.name, finding.unit, *map(_number, values), _number(sum(finding.mean) / len(finding.mean)))]
    if isinstance(finding, Bars):
        return [
            (f"{finding.name}: {condition}", finding.unit, "", "", "", _number(mean))
            for condition, mean in zip(finding.conditions, finding.mean, strict=True)
        ]
    return []


def _number(value: float) -> str:
    return f"{value:.3g}"
