"""Saved profiles as one HTML page: pure functions, no model, no network."""

from probe.report.figures import CHARTS, Subject
from probe.report.page import render, write_report
from probe.report.words import Span, stage_spans

__all__ = ["CHARTS", "Span", "Subject", "render", "stage_spans", "write_report"]
