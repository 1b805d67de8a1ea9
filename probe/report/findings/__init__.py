"""Charts of what probes found: one file for each kind of finding, and none for a probe.

charts_of(analysis.result("shares"), Depth(analysis.layers, analysis.stages), analysis.sample_ids)

What does not belong here: what is drawn on an example's image (`probe.report.analysed_examples`).
"""

from collections.abc import Sequence

from probe.analysis.records import ProbeResult
from probe.analyzers.findings import (
    AnyFinding,
    Bars,
    HeadMap,
    LayerSeries,
    SampleTable,
    ScatterPoints,
    StateMatrix,
)
from probe.report.findings import bars, heads, matrix, points, samples, series
from probe.report.findings.chart import Depth, FindingChart

__all__ = ["Depth", "FindingChart", "charts_of"]


def charts_of(result: ProbeResult, depth: Depth, sample_ids: Sequence[str]) -> list[FindingChart]:
    """The charts of a probe, in the order of its findings; what is on images has no chart here."""
    groups: dict[tuple[object, ...], list[AnyFinding]] = {}
    for finding in result.findings:
        groups.setdefault(_group(finding), []).append(finding)
    charts = (_chart(group, depth, sample_ids) for group in groups.values())
    return [chart for chart in charts if chart is not None]


def _group(finding: AnyFinding) -> tuple[object, ...]:
    """The same value for findings that share a chart."""
    if isinstance(finding, LayerSeries):
        return (finding.kind, finding.title, finding.unit, finding.axis)
    if isinstance(finding, StateMatrix):
        return (finding.kind, finding.title, finding.unit)
    return (finding.kind, finding.name)


def _chart(group: Sequence[AnyFinding], depth: Depth, sample_ids: Sequence[str]) -> FindingChart | None:
    first = group[0]
    if isinstance(first, LayerSeries):
        return series.chart([one for one in group if isinstance(one, LayerSeries)], depth)
    if isinstance(first, StateMatrix):
        return matrix.chart([one for one in group if isinstance(one, StateMatrix)], depth)
    if isinstance(first, HeadMap):
        return heads.chart(first, depth)
    if isinstance(first, Bars):
        return bars.chart(first, depth)
    if isinstance(first, SampleTable):
        return samples.chart(first, depth, sample_ids)
    if isinstance(first, ScatterPoints):
        return points.chart(first, depth)
    return None
