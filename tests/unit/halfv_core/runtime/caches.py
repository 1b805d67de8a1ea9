"""Plans, prompts and parameters of the tests about KV caches that a plan has left its state in."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from halfv_core import Freeze, Keep, Plan
from halfv_core.runtime.run import Run

PLAN = Plan((Keep(layer=1, keep_ratio=0.6), Freeze(layers=[2]), Keep(layer=3, keep_ratio=0.2)))
OTHER = Plan((Keep(layer=1, keep_ratio=0.5),))
FAMILY = pytest.mark.parametrize("family", ["gemma3", "llava", "qwen2_5_vl"])
KERNEL = pytest.mark.parametrize("kernel", ["eager", "sdpa"])
PROMPTS: dict[str, list[dict[str, Any]]] = {
    "equal_counts": [{"after": 3}, {"before": 7}, {"after": 4}],
    "different_counts": [{"images": 2, "after": 3}, {"before": 20}, {"images": 0, "before": 9}],
}
TOKEN = torch.tensor([[5]])
Change = Callable[[DynamicCache], DynamicCache | None]


def kept_in(run: Run, row: int) -> dict[int, torch.Tensor]:
    return {layer: rows[row] for layer, rows in run.kept.items()}
