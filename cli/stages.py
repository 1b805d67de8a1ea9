"""`halfv-probe stages`: find the stages in curves from CSV files, without a model.

halfv-probe stages --visual visual.csv --text text.csv --kl kl.csv --json
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cli.common import JsonOption, print_json, stdout


def stages(
    visual: Annotated[Path, typer.Option(help="CSV of the visual entropy, one row a layer input.")],
    text: Annotated[Path | None, typer.Option(help="CSV of the text entropy.")] = None,
    joint: Annotated[Path | None, typer.Option(help="CSV of the entropy of all tokens; checked and reported.")] = None,
    kl: Annotated[Path | None, typer.Option(help="CSV of the KL layer redundancy, one row a layer.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the stages in curves from CSV files (a header row; column `value`, optional column `layer`)."""
    from probe.stages.curves_csv import read_curve
    from probe.stages.from_curves import stages_of_curves

    text_curve, joint_curve, kl_curve = (None if path is None else read_curve(path) for path in (text, joint, kl))
    result = stages_of_curves(read_curve(visual), text_curve, joint_curve, kl_curve)
    if as_json:
        print_json(result._asdict())
        return
    table = Table(box=None, pad_edge=False)
    for column in ("", "found", "why"):
        table.add_column(column, overflow="fold")
    for name, why in result.evidence.items():
        value = getattr(result, name, "")
        table.add_row(name.replace("_", " "), "-" if value is None else str(value), escape(why))
    stdout.print(table)
