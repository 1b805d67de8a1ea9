"""The table of how training went, in docs/backbones.md, from the logs beside the adapters."""

import re
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from data_samples.studies.backbones_records import ADAPTERS
from data_samples.studies.tables import markdown
from halfv_core.files import read_text

COMMAND = "make backbones: training"
LOG = "training.log"
FAMILIES = ("attribute", "existence", "place", "where", "counting", "relation", "reading")
EVERY, WINDOW = 200, 100
"""Steps between rows, and steps that a row is the mean of."""
_LINE = re.compile(r"answer (?P<step>\d+)/\d+ loss (?P<loss>[\d.]+) .*\| (?P<tally>.*)")
_SHARE = re.compile(r"(\w+) ([\d.]+)")


class Logged(NamedTuple):
    """A line of the log, about the steps since the one before."""

    step: int
    loss: float
    """Mean cross-entropy of the answers' tokens, nats."""
    right: dict[str, float]
    """Share of the questions that were answered right, by family."""


def read_log(path: Path) -> list[Logged]:
    """The lines about the second training stage."""
    found = filter(None, map(_LINE.fullmatch, read_text(path).splitlines()))
    return [
        Logged(
            int(line["step"]),
            float(line["loss"]),
            {name: float(value) for name, value in _SHARE.findall(line["tally"])},
        )
        for line in found
    ]


def training_table() -> str:
    """Markdown: loss and answers to the questions of the steps themselves, before each step's update."""
    lines = []
    for folder in sorted(ADAPTERS.iterdir()):
        logged = read_log(folder / LOG)
        last = logged[-1].step
        for step in sorted({*range(EVERY, last, EVERY), last}):
            lines.append(
                [f"`{folder.name}`", f"{step}", *_means([one for one in logged if step - WINDOW < one.step <= step])]
            )
    return markdown(["model", "step", "loss", *FAMILIES], lines)


def _means(logged: list[Logged]) -> list[str]:
    right = [mean(one.right[name] for one in logged if name in one.right) for name in FAMILIES]
    return [f"{mean(one.loss for one in logged):.2f}", *(f"{share:.2f}" for share in right)]
