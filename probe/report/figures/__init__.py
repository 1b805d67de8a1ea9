"""The charts of the report by name, in reading order; one file each, with pure functions only.

CHARTS["entropy"].make([Subject(Profile.load("profile.json"))]).show()
"""

import plotly.graph_objects as go

from halfv_core.errors import HalfVError
from halfv_core.profile import Profile
from probe.report.figures import (
    boundaries,
    causes,
    entropy,
    frontier,
    redundancy,
    sample_size,
    spectrum,
    spectrum_3d,
    time,
    treatments,
    utility,
)
from probe.report.figures._style import STYLES
from probe.report.figures.chart import Cell, Chart, Subject, Table

_FILES = (
    entropy,
    redundancy,
    utility,
    frontier,
    causes,
    treatments,
    spectrum,
    spectrum_3d,
    boundaries,
    sample_size,
    time,
)
CHARTS: dict[str, Chart] = {file.CHART.name: file.CHART for file in _FILES}


def draw(profile: Profile, name: str) -> go.Figure:
    """One chart of one profile; `Profile.figure` calls this.

    Raises:
        HalfVError: there is no such chart, or the profile has no data for it.
    """
    if name not in CHARTS:
        raise HalfVError("unknown figure", got=repr(name), expected=f"one of {', '.join(CHARTS)}")
    subjects = [Subject(profile)]
    figure = CHARTS[name].make(subjects)
    if figure is None:
        possible = ", ".join(chart.name for chart in CHARTS.values() if chart.table(subjects) is not None)
        remedy = "or calibrate again without leaving it out"
        raise HalfVError("this profile has no data for the figure", got=repr(name), expected=possible, remedy=remedy)
    return figure


__all__ = ["CHARTS", "STYLES", "Cell", "Chart", "Subject", "Table", "draw"]
