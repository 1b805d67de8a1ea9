"""Tables of the pages: each stands between two marks that name the command that writes it."""

from collections.abc import Sequence
from pathlib import Path

from halfv_core.profile import write_atomically

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
RECORDS = PAGE.with_suffix("")
"""Folder of the records that its tables are made of."""


def write_table(command: str, table: str, page: Path = PAGE) -> None:
    """Put a table, Markdown, in its place; all else on the page is written by hand."""
    mark = _mark(command)
    before, _, after = page.read_text(encoding="utf-8").split(mark)
    write_atomically(page, mark.join([before, table, after]))


def read_table(command: str, page: Path = PAGE) -> str:
    """What the page has."""
    return page.read_text(encoding="utf-8").split(_mark(command))[1]


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines]) + "\n"


def _mark(command: str) -> str:
    return f"<!-- table: {command} -->\n"
