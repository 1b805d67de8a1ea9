"""The published plan, and the plan scaled to the relative depths of a slice."""

import pytest

from halfv_core.errors import PlanError
from halfv_core.plan import Freeze, Keep, Plan
from probe.bench.plans import published_plan, scaled


def layers_of(plan: Plan) -> tuple[list[tuple[int, float]], list[int]]:
    return [(keep.layer, keep.keep_ratio) for keep in plan.keeps], sorted(plan.frozen_layers)


@pytest.mark.parametrize(
    "model_type, depth, layers, expected",
    [
        ("qwen2_5_vl", 28, None, ([(2, 0.25), (21, 0.05)], [])),
        ("qwen2_5_vl", 28, 14, ([(1, 0.25), (10, 0.05)], [])),
        ("qwen2_5_vl", 28, 4, ([(1, 0.25), (3, 0.05)], [])),
        ("qwen2_5_vl", 36, None, ([(3, 0.25), (27, 0.05)], [])),
        ("llava", 32, None, ([(3, 0.5)], list(range(15, 32)))),
        ("llava", 32, 8, ([(1, 0.5)], [4, 5, 6, 7])),
        ("llava", 40, None, ([(3, 0.5)], list(range(15, 40)))),
        ("llava_next", 32, 16, ([(1, 0.5)], list(range(8, 16)))),
    ],
)
def test_the_release_at_relative_depth(
    model_type: str, depth: int, layers: int | None, expected: tuple[list[tuple[int, float]], list[int]]
) -> None:
    assert layers_of(published_plan(model_type, depth, layers)) == expected


def test_scaling_keeps_what_is_not_a_layer() -> None:
    keep = Keep(layer=4, keep_ratio=0.5, selector="attention", options={"rope": False})
    assert scaled(Plan((keep, Freeze(layers=[6, 7]))), 8, 4) == Plan(
        (Keep(layer=2, keep_ratio=0.5, selector="attention", options={"rope": False}), Freeze(layers=[3]))
    )


@pytest.mark.parametrize("layers, message", [(1, "two keeps at one layer"), (2, "does not have")])
def test_a_slice_too_thin_is_refused(layers: int, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        published_plan("qwen2_5_vl", 28, layers)


def test_a_family_that_the_release_does_not_have() -> None:
    with pytest.raises(PlanError, match="no published plan for model_type 'internvl'; give one: --profile"):
        published_plan("internvl", 28)
