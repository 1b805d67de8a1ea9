"""What a chart of the report is: words, a pure function to a plotly figure, and the same numbers as a table.

CHARTS["entropy"].make([Subject(profile)]).show()
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from halfv_core.profile import Profile
from probe.calibration.observations import Observations

Cell = str | int | float | bool | None


class Subject(NamedTuple):
    """What is drawn: one calibrated model, and what was seen sample by sample where that was kept."""

    profile: Profile
    observations: Observations | None = None


class Table(NamedTuple):
    """All numbers of a chart, for reading and for CSV."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    """As long as `columns` each; null where there is no such number."""


class Chart(NamedTuple):
    """One chart. It has a figure exactly if it has a table."""

    name: str
    """Short, for file names and `Profile.figure`."""
    title: str
    caption: str
    """What is shown, plain text."""
    make: Callable[[Sequence[Subject]], go.Figure | None]
    """null: these subjects have nothing to show here."""
    table: Callable[[Sequence[Subject]], Table | None]
    summary: Callable[[Profile], str]
    """What this profile's numbers say, one plain sentence; empty where there are none."""
    many: bool = False
    """Whether one figure compares all subjects; else one is made for each, from a sequence of one."""
