"""`halfv-probe compare`: whether two profiles agree, and where they do not.

halfv-probe compare scenes.json photos.json --json | jq .agree
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cli.common import JsonOption, print_json, stdout

if TYPE_CHECKING:
    from probe.calibration.compare import ProfileComparison

ROW_LABELS = {
    "aggregation_start": "Stage II begins",
    "saturation_start": "Stage III begins",
    "flops_ratio": "prefill FLOPs, x fewer",
    "kv_ratio": "KV cache, x smaller",
    "agreement": "held-out agreement",
    "log_likelihood_drop": "held-out fall, nats",
}


def compare(
    a: Annotated[Path, typer.Argument(help="A profile made by `halfv-probe calibrate`.", show_default=False)],
    b: Annotated[Path, typer.Argument(help="Another.", show_default=False)],
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 1 when they disagree.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say whether two profiles agree: stages, saturation type and share kept, and how far their curves are apart."""
    from halfv_core.profile import Profile
    from probe.calibration.compare import compare as run
    from probe.calibration.compare import verdict

    found = run(Profile.load(a), Profile.load(b))
    if as_json:
        print_json({"agree": found.agree, "verdict": verdict(found)} | found.model_dump(mode="json"))
    else:
        stdout.print(comparison_table(found))
        stdout.print(curve_table(found))
        stdout.print(verdict(found), markup=False, highlight=False)
    if strict and not found.agree:
        raise typer.Exit(1)


def comparison_table(found: "ProfileComparison") -> Table:
    """What each calibration found and promises, and what they were not done alike with."""
    from probe.calibration.certainty import interval_label

    table = Table(box=None, pad_edge=False)
    for column in ("", "A", "B", ""):
        table.add_column(column, overflow="fold")

    def add(name: str, one: object, two: object, same: bool | None = None) -> None:
        mark = "" if same is None else "agree" if same else "disagree"
        table.add_row(escape(name), escape(_text(one)), escape(_text(two)), mark)

    for pair in found.boundaries:
        one, two = (f"{_text(side.layer)} ({interval_label(side.low, side.high)})" for side in (pair.a, pair.b))
        add(ROW_LABELS[pair.name], one, two, pair.agree)
    add("saturation type", *found.types, found.types[0] == found.types[1])
    add("share kept at Stage II", *found.keep_ratios, found.keep_ratios[0] == found.keep_ratios[1])
    for number in found.expected:
        add(ROW_LABELS[number.name], number.a, number.b)
    for name, (left, right) in found.differs.items():
        add(name, left, right)
    return table


def curve_table(found: "ProfileComparison") -> Table:
    """How far the mean curves are apart."""
    table = Table(box=None, pad_edge=False)
    for column in ("curves apart by", "mean, std", "largest, std", "rank correlation"):
        table.add_column(column)
    for curve in found.curves:
        table.add_row(curve.name, _text(curve.mean), _text(curve.largest), _text(curve.rank_correlation))
    return table


def _text(value: object) -> str:
    """As people read it; "none" stands for no such stage, or nothing to measure."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.3g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
