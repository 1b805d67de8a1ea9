"""Fills a template with charts, so that the page is self-contained: style, scripts and figures are in it."""

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from probe.report.drawing import Drawing
from probe.report.embed import embed
from probe.report.facts import percent

PARTS = Path(__file__).parent / "parts"
SCRIPTS = ("views.js", "charts.js", "files.js")


def filled(template: str, drawn: Sequence[Drawing], more_scripts: Sequence[str] = (), **values: Any) -> str:
    """The page as text; the same values always give the same text.

    Args:
        template: name of a file in `parts`.
        drawn: all charts of the page.
        more_scripts: names of files in `parts`, besides those that every page has.
        values: what the template shows.
    """
    plotly, *scripts = [_script(code) for code in (get_plotlyjs(), *map(_read, (*SCRIPTS, *more_scripts)))]
    return (
        _environment()
        .get_template(template)
        .render(
            **values,
            figures=embed({drawing.id: drawing.figure for drawing in drawn}),
            style=Markup(_read("page.css")),
            plotly=plotly,
            scripts=scripts,
            script_hashes=" ".join(map(_hash, (plotly, *scripts))),
        )
    )


def _script(code: str) -> Markup:
    # All scripts come from installed packages, and none may close its own element.
    assert "</script" not in code.lower()
    return Markup(code)


def _hash(script: str) -> str:
    """The script's hash for the content security policy, which lets only these exact scripts run."""
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
    environment.filters["percent"] = percent
    environment.filters["compact"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment
