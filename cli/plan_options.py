"""Options for a plan on the command line: `--keep LAYER=AMOUNT[:SELECTOR]` and `--freeze FIRST-LAST`.

An amount is a share of the visual tokens, as in 0.25, or a number of them, as in 128t.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from halfv_core.plan import Freeze, Keep, Plan

KeepOption = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        help="LAYER=SHARE or LAYER=TOKENSt, and perhaps :SELECTOR, as in 2=0.25 or 2=128t:attention; repeatable.",
    ),
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

    match = re.fullmatch(r"(\d+)=(?:(\d+)t|(\d*\.?\d+))(?::(\w+))?", text)
    if match is None:
        expected = "LAYER=SHARE or LAYER=TOKENSt, and perhaps :SELECTOR, as in 2=0.25:attention or 2=128t"
        raise PlanError("bad --keep", got=repr(text), expected=expected)
    layer, tokens, ratio, selector = match.groups()
    given: dict[str, Any] = {"tokens": int(tokens)} if tokens else {"keep_ratio": float(ratio)}
    return Keep(layer=int(layer), **given | ({"selector": selector} if selector else {}))


def _freeze(text: str) -> "Freeze":
    from halfv_core.errors import PlanError
    from halfv_core.plan import Freeze

    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if last < first:
        raise PlanError("bad --freeze", got=repr(text), expected="FIRST-LAST, as in 15-31, or one layer")
    return Freeze(layers=range(first, last + 1))
