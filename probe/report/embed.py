"""Embeds figures in a page as JSON: without active content, rounded, and with repeated parts stored once."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

UNEXPECTED_TAG = re.compile(r"<(?!/?(?:b|i|br|sub|sup|extra)\s*/?>)", re.IGNORECASE)
"""The start of a tag that no chart uses; plotly would turn `<a href>` into a link."""
DIGITS = 7
"""Significant digits of embedded numbers."""
MIN_SHARED = 60
"""A list or text is stored once for all figures if its JSON has at least this many characters."""


def embed(figures: Mapping[str, go.Figure]) -> dict[str, Markup]:
    """The figures as JSON by name, and under "shared" the list to which `{"$": index}` in the figures refers."""
    sanitised = {name: _sanitised(_without_template(figure)) for name, figure in figures.items()}
    counts = Counter(text for figure in sanitised.values() for text in _shareable(figure))
    positions = {text: position for position, text in enumerate(text for text, count in counts.items() if count > 1)}
    texts = {name: _dump(_with_references(figure, positions)) for name, figure in sanitised.items()}
    return {name: _script_safe(text) for name, text in (texts | {"shared": f"[{','.join(positions)}]"}).items()}


def as_data(value: Any) -> Markup:
    """A JSON value as the text of a script element, with all digits of its numbers."""
    return _script_safe(_dump(value))


def _without_template(figure: go.Figure) -> Any:
    """The figure without plotly's default template, which is long; the page sets its own style."""
    parsed = json.loads(figure.to_json())
    parsed["layout"].pop("template", None)
    return parsed


def _sanitised(value: Any) -> Any:
    if isinstance(value, str):
        return UNEXPECTED_TAG.sub("&lt;", value)
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, list):
        return [_sanitised(item) for item in value]
    return {name: _sanitised(item) for name, item in value.items()} if isinstance(value, dict) else value


def _shareable(value: Any) -> Iterator[str]:
    if (text := _shareable_json(value)) is not None:
        yield text
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _shareable(item)


def _with_references(value: Any, positions: Mapping[str, int]) -> Any:
    if (text := _shareable_json(value)) is not None:
        return {"$": positions[text]} if text in positions else value
    if isinstance(value, list):
        return [_with_references(item, positions) for item in value]
    return (
        {name: _with_references(item, positions) for name, item in value.items()} if isinstance(value, dict) else value
    )


def _shareable_json(value: Any) -> str | None:
    """The JSON of a long text or a long flat list; None for any other value."""
    flat = isinstance(value, list) and not any(isinstance(item, dict | list) for item in value)
    if not (flat or isinstance(value, str)):
        return None
    text = _dump(value)
    return text if len(text) >= MIN_SHARED else None


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _script_safe(text: str) -> Markup:
    """Escape `<`, so that the text cannot close the script element that holds it."""
    return Markup(text.replace("<", "\\u003c"))
