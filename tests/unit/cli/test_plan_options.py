"""Plans given as options."""

import pytest

from cli.plan_options import parse_plan
from halfv_core import Freeze, Keep, Plan
from halfv_core.errors import PlanError


def test_options_become_interventions() -> None:
    assert parse_plan(["2=0.25", "21=.05:attention", "30=0"], ["22-24", "26"]) == Plan(
        (
            Keep(layer=2, keep_ratio=0.25),
            Keep(layer=21, keep_ratio=0.05, selector="attention"),
            Keep(layer=30, keep_ratio=0.0),
            Freeze(layers=range(22, 25)),
            Freeze(layers=[26]),
        )
    )


@pytest.mark.parametrize("text", ["2", "2=", "=0.5", "2=half", "-2=0.5", "2=0.5:", "2:0.5", "2=0.5 "])
def test_a_keep_that_cannot_be_read(text: str) -> None:
    with pytest.raises(PlanError, match="bad --keep; got .*; expected LAYER=SHARE"):
        parse_plan([text], [])


@pytest.mark.parametrize("text", ["", "a-b", "5-3", "5-", "1,2"])
def test_a_freeze_that_cannot_be_read(text: str) -> None:
    with pytest.raises(PlanError, match="bad --freeze; got .*; expected FIRST-LAST"):
        parse_plan([], [text])


@pytest.mark.parametrize("keep, words", [("0=0.5", "layer"), ("2=1.5", "keep_ratio"), ("2=0.5:magic", "magic")])
def test_a_keep_that_is_wrong_is_the_plans_own_error(keep: str, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        parse_plan([keep], [])
