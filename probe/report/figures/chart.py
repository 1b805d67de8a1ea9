"""The parts of a chart: texts, a pure function that makes a plotly figure, and the same numbers as a table.

CHARTS["entropy"].make([Subject(profile)]).show()
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from halfv_core.profile import Profile
from probe.calibration.observations import Observations

Cell = str | int | float | bool | None


class Subject(NamedTuple):
    """One calibrated model to draw, with its observations of single samples if they were saved."""

    profile: Profile
    observations: Observations | None = None


class Table(NamedTuple):
    """All numbers of a chart, for the page and for export."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    """Rows as long as `columns`; None where a value does not exist."""


class Chart(NamedTuple):
    """One chart; it has a figure if and only if it has a table."""

    name: str
    """Short name, for file names and `Profile.figure`."""
    title: str
    caption: str
    """What the chart shows, as plain text."""
    make: Callable[[Sequence[Subject]], go.Figure | None]
    """Makes the figure; None if the subjects have no data for it."""
    table: Callable[[Sequence[Subject]], Table | None]
    """Makes the table; None if the subjects have no data for it."""
    summary: Callable[[Profile], str]
    """Summarises a profile's numbers in one sentence; "" if there are none."""
    many: bool = False
    """Whether one figure compares all subjects; otherwise `make` and `table` take a single subject."""
