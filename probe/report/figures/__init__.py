"""The charts of the report by name, in the order in which a reader wants them; one file each, all pure.

CHARTS["entropy"].make([Subject(Profile.load("profile.json"))]).show()
"""

from probe.report.figures import (
    boundaries,
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
from probe.report.figures.combined import entropy_figure, spectrum_figure

_FILES = (
    entropy,
    redundancy,
    utility,
    frontier,
    treatments,
    spectrum,
    spectrum_3d,
    boundaries,
    sample_size,
    time,
)
CHARTS: dict[str, Chart] = {file.CHART.name: file.CHART for file in _FILES}

__all__ = ["CHARTS", "STYLES", "Cell", "Chart", "Subject", "Table", "entropy_figure", "spectrum_figure"]
