"""Saved profiles as one HTML page: pure functions, no model, no network.

Not here: anything that measures or decides; what a page says stands in the profile and its observations.
"""

from probe.report.figures import CHARTS, Subject
from probe.report.labels import Span, stage_spans
from probe.report.page import render, write_report

__all__ = ["CHARTS", "Span", "Subject", "render", "stage_spans", "write_report"]
