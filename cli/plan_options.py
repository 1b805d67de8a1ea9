"""Options for a plan on the command line: `--keep LAYER=RATIO[:SELECTOR]` and `--freeze FIRST-LAST`."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from halfv_core.plan import Freeze, Keep, Plan

KeepOption = Annotated[
    list[str] | None,
    typer.Option("--keep", help="LAYER=RATIO[:SELECTOR], as in 2=0.25 or 21=0.05:attention; repeatable."),
]
FreezeOption = Annotated[
    list[str] | None, typer.Option("--freeze", help="FIRST-LAST or one layer, as in 15-31; repeatable.")
]


def parse_plan(keep: Sequence[str], freeze: Sequence[str]) -> "Plan":
    """The plan that the options describe.

    Raises:
        PlanError: an option that cannot be parsed, or a plan that contradicts itself.
    """
    from halfv_core.plan import Plan

    return Plan([*map(_keep, keep), *map(_freeze, freeze)])


def _keep(text: str) -> "Keep":
    from halfv_core.errors import PlanError
    from halfv_core.plan import Keep

    match = re.fullmatch(r"(\d+)=(\d*\.?\d+)(?::(\w+))?", text)
    if match is None:
        raise PlanError("bad --keep", got=repr(text), expected="LAYER=RATIO[:SELECTOR], as in 2=0.25:attention")
    layer, ratio, selector = match.groups()
    return Keep(layer=int(layer), keep_ratio=float(ratio), **({"selector": selector} if selector else {}))


def _freeze(text: str) -> "Freeze":
    from halfv_core.errors import PlanError
    from halfv_core.plan import Freeze

    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if last < first:
        raise PlanError("bad --freeze", got=repr(text), expected="FIRST-LAST, as in 15-31, or one layer")
    return Freeze(layers=range(first, last + 1))
