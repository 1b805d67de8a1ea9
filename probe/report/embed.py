"""Figures as JSON inside a page: unable to act, rounded, and what several of them hold is there once."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

STRANGE = re.compile(r"<(?!/?(?:b|i|br|sub|sup|extra)\s*/?>)", re.IGNORECASE)
"""The start of a tag that no chart needs: plotly would make a link of `<a href>`."""
DIGITS = 7
LONG = 60
"""Letters of JSON from which on a list or a text is worth sharing."""


def embed(figures: Mapping[str, go.Figure]) -> dict[str, Markup]:
    """JSON for each name, and under "shared" the list that `{"$": index}` in the others points into."""
    plain = {name: _plain(_parts(figure)) for name, figure in figures.items()}
    counts = Counter(text for figure in plain.values() for text in _shareable(figure))
    places = {text: place for place, text in enumerate(text for text, count in counts.items() if count > 1)}
    texts = {name: _dump(_point(figure, places)) for name, figure in plain.items()}
    return {name: _inert(text) for name, text in (texts | {"shared": f"[{','.join(places)}]"}).items()}


def _parts(figure: go.Figure) -> Any:
    """Without the template: a page has its own looks, and plotly's default is long."""
    found = json.loads(figure.to_json())
    found["layout"].pop("template", None)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return STRANGE.sub("&lt;", value)
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return {name: _plain(one) for name, one in value.items()} if isinstance(value, dict) else value


def _shareable(value: Any) -> Iterator[str]:
    if (text := _leaf(value)) is not None:
        yield text
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _shareable(one)


def _point(value: Any, places: Mapping[str, int]) -> Any:
    if (text := _leaf(value)) is not None:
        return {"$": places[text]} if text in places else value
    if isinstance(value, list):
        return [_point(one, places) for one in value]
    return {name: _point(one, places) for name, one in value.items()} if isinstance(value, dict) else value


def _leaf(value: Any) -> str | None:
    """The JSON of a long text, or of a long list of numbers and texts."""
    flat = isinstance(value, list) and not any(isinstance(one, dict | list) for one in value)
    if not (flat or isinstance(value, str)):
        return None
    text = _dump(value)
    return text if len(text) >= LONG else None


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _inert(text: str) -> Markup:
    """No `<`, so that the script element that holds it cannot end early."""
    return Markup(text.replace("<", "\\u003c"))
