"""Step `curves`: entropies, eigenvalue spectrum and KL layer redundancy over depth, and the full model's answer.

Hidden states come from one forward pass of the prompt through nnsight; see probe.analyzers for the formulas.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from halfv_core.errors import DataError
from probe.analyzers.layer_redundancy import layer_redundancy
from probe.analyzers.tme import entropy, spectra, truncated_matrix_entropy
from probe.calibration.budget.mean_sample import MeanSample
from probe.calibration.measurements import Measurements
from probe.calibration.steps.answer import Answer, full_model_answer
from probe.calibration.steps.step import Item, ProbedModel, Step
from probe.capture.hidden_states import Capture, capture
from probe.data.samples import Sample


class MeasuredSamples(NamedTuple):
    """The result of the step."""

    measurements: Measurements
    answers: dict[str, Answer]
    """By sample id, in the order of the measurements."""


@dataclass(frozen=True)
class Curves(Step[MeasuredSamples]):
    """Measures the curves of every sample."""

    name = "curves"
    skips_bad_samples = True
    budgeted = "before each sample"
    cost_fields = ("sample",)

    entropy_k: int
    max_new_tokens: int
    release_curve: bool = False
    """Also compute the visual entropy as the public HalfV code does."""

    def measure(self, model: ProbedModel, sample: Sample) -> Item:
        started = time.monotonic()
        inputs = model.inputs(sample)
        opened = time.monotonic()
        states = capture(model.model, inputs, family=model.family)
        groups = spectra(states.hidden, states.visual, k=self.entropy_k)
        kl = layer_redundancy(model.model, inputs, family=model.family)
        if not bool(kl.isfinite().all()):
            raise DataError("logits are not finite", remedy="load the model in bfloat16 or float32")
        item = full_model_answer(model, inputs, self.max_new_tokens)
        item["seconds"] |= {"inputs": opened - started, "sample": time.monotonic() - started}
        return item | {
            "visual": entropy(groups.visual).tolist(),
            "text": entropy(groups.text).tolist(),
            "joint": entropy(groups.joint).tolist(),
            "spectrum": groups.visual.tolist(),
            "kl": kl.tolist(),
            "visual_release": self._release_curve(states),
            "visual_tokens": int(states.visual.sum()),
            "text_tokens": int((~states.visual).sum()),
        }

    def combine(self, items: Mapping[str, Item]) -> MeasuredSamples:
        measurements = Measurements(entropy_k=self.entropy_k)
        for item in items.values():
            measurements.add(item)
        return MeasuredSamples(measurements, {name: Answer.of(item) for name, item in items.items()})

    def cost(self, mean: MeanSample) -> float:
        return mean.sample

    def _release_curve(self, states: Capture) -> list[float] | None:
        if not self.release_curve:
            return None
        visual = states.hidden[:, states.visual]  # (L+1, V, D)
        return truncated_matrix_entropy(visual, self.entropy_k, "release").tolist()
