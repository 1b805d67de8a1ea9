"""HalfV's and VisiPruner's stages on one layer axis, with what VisiPruner's stages are made from.

The page recomputes the figure when a reader moves a threshold (`parts/two_stories.js`), by the rules of
`probe.analyzers.visipruner_stages`.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from probe.analysis.records import Analysis
from probe.analyzers.findings import SampleTable
from probe.analyzers.visipruner_stages import first_asked
from probe.report.figures import Cell, Table
from probe.report.two_stories_chart import figure
from probe.report.two_stories_rules import Rules, Split, counts, slider_position, split

PROBE, FINDING = "contribution", "min_cosines"
"""The probe and its `SampleTable` that hold each sample's smallest cosine similarity at each layer."""
TITLE = "HalfV's and VisiPruner's stages"
QUESTION = "Where do two ways to find the stages of visual information agree?"
ONE_TITLE = "VisiPruner's stages"
ONE_QUESTION = "Where do visual tokens begin to matter to the last prompt token, and where do they stop?"
"""Without a profile."""
HALFV = "The tints and the upper bar are HalfV's stages, from the profile. "
CAPTION = (
    "The bar of VisiPruner's stages is split at the median layers of its filter (a visual token matters for the first "
    "time) and of its exit (none has mattered at so many layers since); their histograms over the samples are below. "
    "Both come from the curve: the smallest cosine similarity of the last prompt token's attention output with and "
    "without one visual token, as the median of the samples with bands of the middle half and of all but a tenth at "
    "either end. Its axis shows the distance from 1 in powers of ten."
)


class TwoStories(NamedTuple):
    """What the page shows of VisiPruner's stages."""

    title: str
    question: str
    caption: str
    layers: int
    samples: int
    rules: Rules
    cosines: SampleTable
    figure: go.Figure
    table: Table
    halfv: tuple[int, int] | None
    """Where HalfV's Stages II and III begin, the number of layers for never; None without a profile."""

    def position(self, threshold: str) -> int:
        """Of a threshold's slider; see `slider_position`."""
        return slider_position(getattr(self.rules, threshold))


def two_stories(analysis: Analysis) -> TwoStories | None:
    """What there is to show; None if the probe did not run."""
    finding = next(
        (
            finding
            for result in analysis.results
            for finding in result.findings
            if (result.name, finding.name) == (PROBE, FINDING)
        ),
        None,
    )
    if not isinstance(finding, SampleTable) or finding.axis != "layers":
        return None
    rules = Rules(first_asked(analysis.layers))
    found = split(finding.values, rules)
    stages = analysis.stages
    third = analysis.layers if stages is None or stages.saturation_start is None else stages.saturation_start
    return TwoStories(
        title=ONE_TITLE if stages is None else TITLE,
        question=ONE_QUESTION if stages is None else QUESTION,
        caption=CAPTION if stages is None else HALFV + CAPTION,
        layers=analysis.layers,
        samples=len(finding.values),
        rules=rules,
        cosines=finding,
        figure=figure(analysis, finding.values, found, rules),
        table=Table(
            ("layer", "filter", "exit", "10 %", "median", "90 %"), tuple(_rows(finding, found, analysis.layers))
        ),
        halfv=None if stages is None else (stages.aggregation_start, third),
    )


def _rows(finding: SampleTable, found: Split, layers: int) -> Iterator[tuple[Cell, ...]]:
    quantiles = np.quantile(np.array(finding.values), (0.1, 0.5, 0.9), axis=0).T.tolist()
    for layer, (filtered, left) in enumerate(
        zip(counts(found.filters, layers), counts(found.exits, layers), strict=True)
    ):
        if layer < layers:
            yield (layer, filtered, left, *quantiles[layer])
        else:
            yield ("never", filtered, left, None, None, None)
