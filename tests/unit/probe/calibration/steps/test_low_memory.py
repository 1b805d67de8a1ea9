"""With low memory the steps measure the same."""

import pytest
import torch

from halfv_core.plan import Freeze, Keep, Plan
from probe.calibration.steps.answer import Answer
from probe.calibration.steps.curves import Curves
from probe.calibration.steps.plans import Plans
from probe.calibration.steps.search_round import SearchRound
from probe.calibration.steps.self_checks import SelfChecks
from probe.calibration.steps.step import Item, ProbedModel
from probe.calibration.steps.withdrawal import Withdrawal
from probe.data.samples import Sample
from probe.trials.answers import Inputs
from tests.tiny import tiny_model, tiny_prompt

SAMPLE = Sample(id="16", images=("image.png",), question="What is there?")
ANSWERS = {SAMPLE.id: Answer((5, 9, 7), -4.0)}
PLANS = (Plan((Keep(layer=2, keep_ratio=0.5),)), Plan((Freeze(layers=(3, 4)),)), Plan(()))
STEPS = {
    "curves": Curves(5, 4, release_curve=True),
    "self-checks": SelfChecks(5),
    "search": SearchRound(ANSWERS, PLANS, "first"),
    "plans": Plans(ANSWERS, PLANS, "likelihood", 4),
    "withdrawal": Withdrawal(),
}


class _Probed(ProbedModel):
    def inputs(self, sample: Sample) -> Inputs:
        inputs = tiny_prompt(self.model.config.model_type, images=2)
        return {name: v.to(self.model.dtype) if v.is_floating_point() else v for name, v in inputs.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llava", "qwen3_vl"])  # of which the second adds features between layers
@pytest.mark.parametrize("name", sorted(STEPS))
def test_items_are_the_same(name: str, family: str, dtype: torch.dtype) -> None:
    model = tiny_model(family).to(dtype)
    found = [STEPS[name].measure(_Probed(model, None, None, low), SAMPLE) for low in (False, True)]  # type: ignore[arg-type]
    assert _untimed(found[0]) == _untimed(found[1])


def _untimed(item: Item) -> Item:
    return {name: value for name, value in item.items() if name != "seconds"} if isinstance(item, dict) else item
