"""The examples of an analysis: the images with maps that lie over them, words of patches, and words by layer."""

import base64
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from halfv_core.errors import UNPRINTABLE
from probe.analysis.records import AnalysedExample, Analysis, ProbeResult
from probe.analyzers.findings import HeadWords, TokenMap, TokenWords, Words
from probe.report.figures.example import panels_of
from probe.report.findings.chart import axis_title

LEVELS = 255
"""Steps of a map's values on the page, from the lowest to the highest of a layer: one byte each."""
MOST_WORDS = 2**16 - 1
"""Different words of one example's patches; two bytes each."""
SIGNS = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥"})
"""What stands for white space in a word."""
EMPTY = "(empty)"


class Strip(NamedTuple):
    """The likeliest words at each layer, as a table."""

    title: str
    axis: str
    """What a row is."""
    width: int
    """Most words in a row."""
    rows: list[list[tuple[str, float]]]


class Card(NamedTuple):
    """One example with everything that is shown of it."""

    id: str
    example: AnalysedExample
    strips: list[Strip]
    heads: list[str]
    """Titles of the tables of words by head."""
    maps: list[str]
    """Titles of the maps; none if no probe made one."""
    data: dict[str, Any]
    """What `parts/examples.js` draws: `panels`, `maps`, `words` of patches, `heads`; `rest` is the axis if no map is
    chosen."""

    @property
    def has_patches(self) -> bool:
        """Whether there is something to read at a patch."""
        return bool(self.maps or self.data["words"])


def cards(analysis: Analysis) -> list[Card]:
    """One card for each example."""
    return [_card(example, analysis.results, f"x{number}") for number, example in enumerate(analysis.examples, 1)]


OfExample = TokenMap | Words | HeadWords | TokenWords
"""Findings that belong to one example."""


def _card(example: AnalysedExample, results: Sequence[ProbeResult], id: str) -> Card:
    found = [
        (_title(result, finding), finding)
        for result in results
        for finding in result.findings
        if isinstance(finding, OfExample) and finding.example == example.id
    ]
    maps = [(title, finding) for title, finding in found if isinstance(finding, TokenMap)]
    heads = [(title, finding) for title, finding in found if isinstance(finding, HeadWords)]
    steps = [(_points(finding), _axis(finding)) for _, finding in found]
    return Card(
        id=id,
        example=example,
        strips=[_strip(title, finding) for title, finding in found if isinstance(finding, Words)],
        heads=[title for title, _ in heads],
        maps=[title for title, _ in maps],
        data={
            "panels": [
                {"tokens": panel.tokens, "boxes": panel.boxes.round(4).tolist(), "picture": panel.picture}
                for panel in panels_of(example.regions)
            ],
            "maps": [_packed_map(finding) for _, finding in maps],
            "heads": [_head_words(finding) for _, finding in heads],
            "rest": dict(zip(("steps", "axis"), max(steps), strict=True)) if steps else None,
            **_packed_words([(title, finding) for title, finding in found if isinstance(finding, TokenWords)]),
        },
    )


def _points(finding: OfExample) -> int:
    if isinstance(finding, TokenMap):
        return len(finding.values)
    return len(finding.words if isinstance(finding, TokenWords) else finding.rows)


def _axis(finding: OfExample) -> str:
    return axis_title("layers" if isinstance(finding, HeadWords) else finding.axis)


def _title(result: ProbeResult, finding: OfExample) -> str:
    unit = f", {finding.unit}" if finding.unit else ""
    return f"{finding.title}{unit}" if finding.title == result.title else f"{result.title}: {finding.title}{unit}"


def _strip(title: str, finding: Words) -> Strip:
    rows = [[(visible(word), share) for word, share in row] for row in finding.rows]
    return Strip(title, axis_title(finding.axis), max(map(len, rows), default=0), rows)


def _head_words(finding: HeadWords) -> list[list[list[tuple[str, float]]]]:
    """L rows of H lists of words, each with its probability."""
    return [[[(visible(word), round(share, 3)) for word, share in head] for head in row] for row in finding.rows]


def visible(word: str) -> str:
    """A word with signs for white space and codes for control characters, so that a reader sees all of it."""
    if not word:
        return EMPTY
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", word.translate(SIGNS))


def _packed_map(finding: TokenMap) -> dict[str, Any]:
    """A byte for each value: the square root of its place between the layer's lowest and highest value.

    The square root leaves steps to small values where one token has most of an attention.
    """
    table = np.array(finding.values)
    low, high = table.min(1, keepdims=True), table.max(1, keepdims=True)
    span = np.where(high > low, high - low, 1.0)
    codes = np.rint(LEVELS * np.sqrt((table - low) / span)).astype(np.uint8)
    return {
        "axis": axis_title(finding.axis),
        "unit": finding.unit,
        "low": low[:, 0].tolist(),
        "high": high[:, 0].tolist(),
        "steps": len(codes),
        "rows": [_base64(row) for row in codes],
    }


def _packed_words(found: Sequence[tuple[str, TokenWords]]) -> dict[str, Any]:
    """Words by number; the rarest have none if there are too many."""
    shown = Counter(visible(word) for _, finding in found for row in finding.words for word in row)
    vocabulary = [word for word, _ in shown.most_common(MOST_WORDS)]
    numbers = {word: number for number, word in enumerate(vocabulary)}
    words = [
        {
            "title": title,
            "axis": axis_title(finding.axis),
            "rows": [
                _base64(np.array([numbers.get(visible(word), MOST_WORDS) for word in row], "<u2"))
                for row in finding.words
            ],
        }
        for title, finding in found
    ]
    return {"vocabulary": vocabulary, "words": words}


def _base64(numbers: Any) -> str:
    return base64.b64encode(numbers.tobytes()).decode()
