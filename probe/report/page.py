"""A profile as one self-contained HTML page: verdict, charts, causal tests, provenance. Opens no connection.

write_report(Profile.load("profile.json"), "report.html")      # or: halfv-probe plot profile.json
"""

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from halfv_core.plan import Plan
from halfv_core.profile import Profile, write_atomically
from probe.certainty import beside_certainty, certainty
from probe.report.figures import entropy_figure, spectrum_figure
from probe.report.words import TYPE_WORDS, stage_spans


class Cell(NamedTuple):
    """One decoder layer of the depth bar."""

    layer: int
    stage: str
    alive: float
    """Share of the visual tokens that the layer still sees, 0..1."""
    frozen: bool


def render(profile: Profile) -> str:
    """The whole page; the same profile gives the same text."""
    scripts = [_script(get_plotlyjs()), _script(_read("page.js"))]
    return _template().render(
        profile=profile,
        where=profile.provenance,
        spans=stage_spans(profile.stages, profile.layers),
        cells=depth_bar(profile),
        certainty=certainty(profile),
        cautions=beside_certainty(profile),
        type_words=TYPE_WORDS[profile.saturation.type],
        scripts=scripts,
        script_hashes=" ".join(_hash(script) for script in scripts),
        figures=_embedded(profile),
    )


def write_report(profile: Profile, path: str | Path) -> None:
    """Render and write the page, whole or not at all."""
    write_atomically(Path(path), render(profile))


def depth_bar(profile: Profile) -> list[Cell]:
    """For each decoder layer its stage and what the plan leaves of the visual tokens there."""
    plan, frozen = profile.plan, profile.plan.frozen_layers
    spans = stage_spans(profile.stages, profile.layers)
    return [
        Cell(layer, span.numeral, _alive(plan, layer), layer in frozen)
        for span in spans
        for layer in range(span.first, span.last + 1)
    ]


def _alive(plan: Plan, layer: int) -> float:
    return min((keep.keep_ratio for keep in plan.keeps if keep.layer <= layer), default=1.0)


def _embedded(profile: Profile) -> Markup:
    """Both figures as JSON that cannot end its script element, whatever text it carries."""
    figures = {"entropy": entropy_figure(profile), "spectrum": spectrum_figure(profile)}
    text = json.dumps({name: json.loads(figure.to_json()) for name, figure in figures.items()})
    return Markup(text.replace("<", "\\u003c"))


def _script(code: str) -> Markup:
    # Both scripts are files of installed packages, and neither may close its own element.
    assert "</script" not in code.lower()
    return Markup(code)


def _hash(script: str) -> str:
    """What the page's policy lets run: these exact scripts, so text from the data can never become one."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.3g} %"
    environment.filters["compact"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(_read("template.html"))
