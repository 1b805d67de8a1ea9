"""A prefill under a plan reads values from the device twice, however many interventions there are.

Each such read makes the host wait for the device. They are counted: on a CPU they cost nothing, on a GPU much.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from halfv_core import Freeze, Keep, Plan, apply
from tests.tiny import tiny_batch, tiny_model, tiny_prompt

READS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::is_nonzero", "aten::equal"}
"""Operators that hand values to the host, or whose result has as many elements as the values say."""
METHODS = ("tolist", "cpu", "numpy")
"""Reads of a tensor that are no operators on a CPU."""


class Operators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_mask = func.name().startswith("aten::index") and any(
            isinstance(one, torch.Tensor) and one.dtype == torch.bool
            for arg in args[1:2]
            for one in (arg if isinstance(arg, list | tuple) else [])
        )
        if func.name() in READS or by_mask:
            self.reads.append(func.name())
        return func(*args, **(kwargs or {}))


class Methods(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in METHODS:
            self.reads.append(func.__name__)
        return func(*args, **(kwargs or {}))


def reads(run: Callable[[], Any]) -> list[str]:
    """What the host reads while this runs."""
    with torch.inference_mode(), Methods() as methods, Operators() as operators:
        run()
    return methods.reads + operators.reads


PLANS = {
    "keep": Plan((Keep(layer=2, keep_ratio=0.5),)),
    "ladder": Plan((Keep(layer=1, keep_ratio=0.75), Keep(layer=2, keep_ratio=0.5), Keep(layer=4, keep_ratio=0.2))),
    "attention": Plan((Keep(layer=2, keep_ratio=0.5, selector="attention"), Keep(layer=4, keep_ratio=0.0))),
    "freeze": Plan((Freeze(layers=(2, 3, 4)),)),
    "halfv": Plan((Keep(layer=1, keep_ratio=0.5), Freeze(layers=(3, 4)))),
    "random": Plan((Keep(layer=1, keep_ratio=0.5, selector="random"),)),
    "uniform": Plan((Keep(layer=1, keep_ratio=0.5, selector="uniform"),)),
}


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
@pytest.mark.parametrize("rows", ["one", "padded"])
@pytest.mark.parametrize("plan", PLANS)
def test_a_prefill_waits_for_the_device_no_more_than_twice(family: str, rows: str, plan: str) -> None:
    model = tiny_model(family)
    inputs = tiny_prompt(family) if rows == "one" else tiny_batch(family, [{"images": 2}, {"images": 1, "after": 4}])
    full = reads(lambda: model(**inputs))
    with apply(model, PLANS[plan]):
        own = reads(lambda: model(**inputs))
    assert len(own) <= len(full) + 2, (own, full)
