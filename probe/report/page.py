"""Profiles as one self-contained HTML page: verdict, charts, examples, certainty, provenance. Opens no connection.

write_report([Subject(Profile.load("profile.json"))], "report.html")      # or: halfv-probe plot profile.json
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from halfv_core.profile import Profile, write_atomically
from probe.calibration.certainty import certainty
from probe.report.command import reproduce
from probe.report.depth import Cell, Mark, boundary_marks, depth_bar
from probe.report.drawing import Drawing, drawings
from probe.report.embed import embed
from probe.report.examples import Card, cards
from probe.report.figures import Subject
from probe.report.labels import TYPE_WORDS, Span, stage_spans, verdict_rows

PARTS = Path(__file__).parent / "parts"
SCRIPTS = ("views.js", "charts.js", "files.js")
SURE = ("boundaries", "sample_size")
"""Charts that stand under "How sure"."""
TIME = ("time",)
"""Charts that stand after it."""


class Model(NamedTuple):
    """All that the page says of one subject."""

    id: str
    """Prefix of its anchors."""
    profile: Profile
    spans: list[Span]
    cells: list[Cell]
    marks: list[Mark]
    type_words: str
    certainty: list[str]
    command: str
    charts: list[Drawing]
    examples: list[Card]
    sure: list[Drawing]
    time: list[Drawing]

    @property
    def drawings(self) -> list[Drawing]:
        """All charts, in the order of the page."""
        return [*self.charts, *(card.chart for card in self.examples), *self.sure, *self.time]

    @property
    def contents(self) -> list[tuple[str, str]]:
        """Anchor and name of each section."""
        sections = [(f"{chart.id}-title", chart.title) for chart in self.charts]
        if self.examples:
            sections.append((f"{self.id}-examples", "Examples"))
        sections.append((f"{self.id}-sure", "How sure"))
        sections += [(f"{chart.id}-title", chart.title) for chart in self.time]
        return [*sections, (f"{self.id}-provenance", "Where this comes from")]


def render(subjects: Sequence[Subject]) -> str:
    """The whole page; the same subjects give the same text. Several are compared on top, and follow one by one."""
    models = [_model(subject, f"m{index}") for index, subject in enumerate(subjects, start=1)]
    compared = len(models) > 1
    shared = list(drawings(subjects, "all", many=True).values()) if compared else []
    drawn = [*shared, *(drawing for model in models for drawing in model.drawings)]
    scripts = [_script(get_plotlyjs()), *(_script(_read(name)) for name in SCRIPTS)]
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=f"{len(models)} models compared" if compared else models[0].profile.provenance.model_id,
            models=models,
            compared=compared,
            contents=_contents(models, shared) if compared else models[0].contents,
            verdicts=verdict_rows([model.profile for model in models]),
            shared=shared,
            figures=embed({drawing.id: drawing.figure for drawing in drawn}),
            style=Markup(_read("page.css")),
            scripts=scripts,
            script_hashes=" ".join(_hash(script) for script in scripts),
        )
    )


def write_report(subjects: Sequence[Subject], path: str | Path) -> None:
    """Render and write the page, whole or not at all."""
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
        type_words=TYPE_WORDS[profile.saturation.type],
        certainty=certainty(profile),
        command=reproduce(profile),
        charts=[drawing for name, drawing in drawn.items() if name not in (*SURE, *TIME)],
        examples=cards(subject, id),
        sure=[drawn[name] for name in SURE if name in drawn],
        time=[drawn[name] for name in TIME if name in drawn],
    )


def _contents(models: Sequence[Model], shared: Sequence[Drawing]) -> list[tuple[str, str]]:
    return [
        ("verdicts", "Verdicts"),
        *((f"{chart.id}-title", chart.title) for chart in shared),
        *((model.id, model.profile.provenance.model_id) for model in models),
    ]


def _script(code: str) -> Markup:
    # All scripts are files of installed packages, and none may close its own element.
    assert "</script" not in code.lower()
    return Markup(code)


def _hash(script: str) -> str:
    """What the page's policy lets run: these exact scripts, so text from the data can never become one."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PARTS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.3g} %"
    environment.filters["compact"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment
