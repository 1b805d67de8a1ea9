"""Step `curves`: entropies, spectrum, sinks and KL layer redundancy over depth, and the full model's answer.

Hidden states come from one forward pass of the prompt through nnsight; see probe.analyzers for the formulas.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from halfv_core.errors import DataError
from probe.analyzers.layer_redundancy import layer_redundancy
from probe.analyzers.sinks import sink_curves, token_norms
from probe.analyzers.tme import entropy, spectra, truncated_matrix_entropy
from probe.calibration.budget.mean_sample import MeanSample
from probe.calibration.measurements import Measurements
from probe.calibration.steps.answer import Answer, full_model_answer
from probe.calibration.steps.step import Item, ProbedModel, Step
from probe.capture.hidden_states import Capture, capture, final_normed
from probe.data.samples import Sample
from probe.trials.answers import Inputs


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
    cost_fields = ("sample", "kl")

    entropy_k: int
    max_new_tokens: int
    release_curve: bool = False
    """Also compute the visual entropy as the public HalfV code does."""
    kl_ids: frozenset[str] | None = None
    """Ids of the samples that get a KL curve, which costs more than everything else; None stands for all samples."""

    def measure(self, model: ProbedModel, sample: Sample) -> Item:
        started = time.monotonic()
        inputs = model.inputs(sample)
        opened = time.monotonic()
        raw = capture(model.model, inputs, normed=False, family=model.family)
        norms = token_norms(raw.hidden)
        states = final_normed(model.model, raw, family=model.family)
        del raw  # as large as the normed states
        groups = spectra(states.hidden, states.visual, k=self.entropy_k)
        visual, text = entropy(groups.visual), entropy(groups.text)
        sinks = {
            "visual_sinks": sink_curves(norms, states.hidden, states.visual, visual, self.entropy_k),
            "text_sinks": sink_curves(norms, states.hidden, ~states.visual, text, self.entropy_k),
        }
        began = time.monotonic()
        kl = self._kl_curve(model, inputs) if self.kl_ids is None or sample.id in self.kl_ids else None
        kl_seconds = time.monotonic() - began
        item = full_model_answer(model, inputs, self.max_new_tokens)
        item["seconds"] |= {
            "inputs": opened - started,
            "kl": kl_seconds,
            "sample": time.monotonic() - started - kl_seconds,
        }
        return item | {
            "visual": visual.tolist(),
            "text": text.tolist(),
            "joint": entropy(groups.joint).tolist(),
            "spectrum": groups.visual.tolist(),
            "kl": kl,
            **{group: [curve.tolist() for curve in curves] for group, curves in sinks.items()},
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
        # Without the KL curve, whose samples are counted apart.
        return mean.sample

    def _kl_curve(self, model: ProbedModel, inputs: Inputs) -> list[float]:
        kl = layer_redundancy(model.model, inputs, family=model.family)
        if not bool(kl.isfinite().all()):
            raise DataError("logits are not finite", remedy="load the model in bfloat16 or float32")
        return kl.tolist()

    def _release_curve(self, states: Capture) -> list[float] | None:
        if not self.release_curve:
            return None
        visual = states.hidden[:, states.visual]  # (L+1, V, D)
        return truncated_matrix_entropy(visual, self.entropy_k, "release").tolist()
