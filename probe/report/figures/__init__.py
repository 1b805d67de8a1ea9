"""The charts of the report by name, in the order in which a reader wants them; one file each, all pure.

CHARTS["entropy"].make([Subject(Profile.load("profile.json"))]).show()
"""

from probe.report.figures import entropy, redundancy, spectrum
from probe.report.figures._style import STYLES
from probe.report.figures.chart import Cell, Chart, Subject, Table
from probe.report.figures.combined import entropy_figure, spectrum_figure

CHARTS: dict[str, Chart] = {chart.name: chart for chart in (entropy.CHART, redundancy.CHART, spectrum.CHART)}

__all__ = ["CHARTS", "STYLES", "Cell", "Chart", "Subject", "Table", "entropy_figure", "spectrum_figure"]
