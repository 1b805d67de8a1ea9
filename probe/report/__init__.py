"""Renders saved profiles as one HTML page, with pure functions, without a model and without the network.

What does not belong here: anything that measures or decides. All that a page says is in the profile and its
observations.
"""

from probe.report.figures import CHARTS, Subject
from probe.report.labels import Span, stage_spans
from probe.report.page import render, write_report

__all__ = ["CHARTS", "Span", "Subject", "render", "stage_spans", "write_report"]
