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
    "retention": "held-out retention",
    "proven": "proven retention",
}


def compare(
    a: Annotated[Path, typer.Argument(help="A profile made by `halfv-probe calibrate`.", show_default=False)],
    b: Annotated[Path, typer.Argument(help="Another.", show_default=False)],
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 1 when they disagree.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say whether two profiles agree: stages, saturation type and share kept, and how far their curves are apart."""
    from halfv_core.profile import Profile
    from probe.calibration.compare import compare as compare_profiles
    from probe.calibration.compare import verdict

    comparison = compare_profiles(Profile.load(a), Profile.load(b))
    if as_json:
        print_json({"agree": comparison.agree, "verdict": verdict(comparison)} | comparison.model_dump(mode="json"))
    else:
        stdout.print(comparison_table(comparison))
        stdout.print(curve_table(comparison))
        stdout.print(verdict(comparison), markup=False, highlight=False)
    if strict and not comparison.agree:
        raise typer.Exit(1)


def comparison_table(comparison: "ProfileComparison") -> Table:
    """The results and promises of both calibrations, and the conditions in which they differ."""
    from probe.calibration.certainty import interval_label

    table = Table(box=None, pad_edge=False)
    for column in ("", "A", "B", ""):
        table.add_column(column, overflow="fold")

    def add(name: str, in_a: object, in_b: object, same: bool | None = None) -> None:
        mark = "" if same is None else "agree" if same else "disagree"
        table.add_row(escape(name), escape(_text(in_a)), escape(_text(in_b)), mark)

    for pair in comparison.boundaries:
        in_a, in_b = (f"{_text(side.layer)} ({interval_label(side.low, side.high)})" for side in (pair.a, pair.b))
        add(ROW_LABELS[pair.name], in_a, in_b, pair.agree)
    add("saturation type", *comparison.types, comparison.types[0] == comparison.types[1])
    add("share kept at Stage II", *comparison.keep_ratios)
    for number in comparison.expected:
        add(ROW_LABELS[number.name], number.a, number.b)
    for name, (value_a, value_b) in comparison.differs.items():
        add(name, value_a, value_b)
    return table


def curve_table(comparison: "ProfileComparison") -> Table:
    """The distances of the mean curves."""
    table = Table(box=None, pad_edge=False)
    for column in ("curves apart by", "mean, std", "largest, std", "rank correlation"):
        table.add_column(column)
    for curve in comparison.curves:
        table.add_row(curve.name, _text(curve.mean), _text(curve.largest), _text(curve.rank_correlation))
    return table


def _text(value: object) -> str:
    """Format a value; "none" means no such stage, or nothing to measure."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.3g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
