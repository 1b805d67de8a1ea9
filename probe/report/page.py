"""Profiles as one self-contained HTML page that opens no connection: verdict, charts, examples, certainty, provenance.

write_report([Subject(Profile.load("profile.json"))], "report.html")      # or: halfv-probe plot profile.json
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from halfv_core.files import write_atomically
from halfv_core.profile import Profile
from probe.calibration.certainty import certainty
from probe.report.command import reproduce
from probe.report.depth import Cell, Mark, boundary_marks, depth_bar
from probe.report.drawing import Drawing, drawings
from probe.report.examples import Card, cards
from probe.report.facts import Fact, facts
from probe.report.figures import Subject
from probe.report.filling import filled
from probe.report.labels import TYPE_LABELS, Span, stage_spans, verdict_rows

CERTAINTY_CHARTS = ("boundaries", "sample_size")
"""Charts in the section "How sure"."""
TIME_CHARTS = ("time",)
"""Charts after that section."""


class Model(NamedTuple):
    """Everything that the page shows about one subject."""

    id: str
    """Prefix of its anchors."""
    profile: Profile
    spans: list[Span]
    cells: list[Cell]
    marks: list[Mark]
    type_label: str
    facts: list[Fact]
    certainty: list[str]
    command: str
    charts: list[Drawing]
    examples: list[Card]
    certainty_charts: list[Drawing]
    time_charts: list[Drawing]

    @property
    def drawings(self) -> list[Drawing]:
        """All charts, in their order on the page."""
        return [*self.charts, *(card.chart for card in self.examples), *self.certainty_charts, *self.time_charts]

    @property
    def contents(self) -> list[tuple[str, str]]:
        """(anchor, name) of each section."""
        sections = [(f"{chart.id}-title", chart.title) for chart in self.charts]
        if self.examples:
            sections.append((f"{self.id}-examples", "Examples"))
        sections.append((f"{self.id}-sure", "How sure"))
        sections += [(f"{chart.id}-title", chart.title) for chart in self.time_charts]
        return [*sections, (f"{self.id}-provenance", "Where this comes from")]


def render(subjects: Sequence[Subject]) -> str:
    """Render the page; several subjects are compared first and then shown one by one.

    The same subjects always give the same text.
    """
    models = [_model(subject, f"m{index}") for index, subject in enumerate(subjects, start=1)]
    compared = len(models) > 1
    shared = list(drawings(subjects, "all", many=True).values()) if compared else []
    drawn = [*shared, *(drawing for model in models for drawing in model.drawings)]
    return filled(
        "page.html",
        drawn,
        title=f"{len(models)} models compared" if compared else models[0].profile.provenance.model_id,
        models=models,
        compared=compared,
        contents=_contents(models, shared) if compared else models[0].contents,
        verdicts=verdict_rows([model.profile for model in models]),
        shared=shared,
    )


def write_report(subjects: Sequence[Subject], path: str | Path) -> None:
    """Render the page and write it atomically."""
    write_atomically(Path(path), render(subjects))


def _model(subject: Subject, id: str) -> Model:
    profile = subject.profile
    drawn = drawings([subject], id)
    return Model(
        id=id,
        profile=profile,
        spans=stage_spans(profile.stages, profile.layers),
        cells=depth_bar(profile),
        marks=boundary_marks(profile),
        type_label=TYPE_LABELS[profile.saturation.type] if profile.method is None else "not tested",
        facts=facts(profile),
        certainty=certainty(profile),
        command=reproduce(profile),
        charts=[drawing for name, drawing in drawn.items() if name not in (*CERTAINTY_CHARTS, *TIME_CHARTS)],
        examples=cards(subject, id),
        certainty_charts=[drawn[name] for name in CERTAINTY_CHARTS if name in drawn],
        time_charts=[drawn[name] for name in TIME_CHARTS if name in drawn],
    )


def _contents(models: Sequence[Model], shared: Sequence[Drawing]) -> list[tuple[str, str]]:
    return [
        ("verdicts", "Verdicts"),
        *((f"{chart.id}-title", chart.title) for chart in shared),
        *((model.id, model.profile.provenance.model_id) for model in models),
    ]
