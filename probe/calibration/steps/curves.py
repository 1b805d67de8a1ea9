"""Step `curves`: entropies, spectrum, sinks and KL layer redundancy over depth, and the full model's answer.

Hidden states come from one forward pass of the prompt through nnsight; see probe.analyzers for the formulas.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from halfv_core.errors import DataError
from halfv_core.families import parts_of
from probe.analyzers.layer_redundancy import layer_redundancy
from probe.analyzers.sinks import SinkCurves, sink_curves, token_norms
from probe.analyzers.tme import entropy, layers_at_once, spectra, truncated_matrix_entropy
from probe.calibration.budget.mean_sample import MeanSample
from probe.calibration.measurements import Measurements
from probe.calibration.steps.answer import Answer, full_model_answer
from probe.calibration.steps.step import Item, ProbedModel, Step
from probe.capture.hidden_states import each_state
from probe.capture.kept_states import KeptStates
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
        curves = self._curves_of_states(model, inputs)
        began = time.monotonic()
        kl = self._kl_curve(model, inputs) if self.kl_ids is None or sample.id in self.kl_ids else None
        kl_seconds = time.monotonic() - began
        item = full_model_answer(model, inputs, self.max_new_tokens)
        item["seconds"] |= {
            "inputs": opened - started,
            "kl": kl_seconds,
            "sample": time.monotonic() - started - kl_seconds,
        }
        return item | {"kl": kl} | curves

    def _curves_of_states(self, model: ProbedModel, inputs: Inputs) -> dict[str, Item]:
        """What the states of one pass say, a few layers at a time; their normed copies are never all there at once."""
        raw = KeptStates(low_memory=model.low_memory)
        mask = each_state(model.model, inputs, raw.append, family=model.family)
        norm = parts_of(model.model, model.family).norm
        at_once = layers_at_once(raw[0])
        parts: dict[str, list[torch.Tensor]] = defaultdict(list)
        for first in range(0, len(raw), at_once):
            some = torch.stack(raw[first : first + at_once])  # (l, N, D)
            for name, rows in self._curves_of_layers(some, norm, mask, first).items():
                parts[name].append(rows)
        curves: dict[str, Any] = {name: torch.cat(rows).tolist() for name, rows in parts.items()}
        for group in ("visual_sinks", "text_sinks"):
            curves[group] = [curves.pop(f"{group}_{field}") for field in SinkCurves._fields]
        visual = int(mask.sum())
        counts = {"visual_tokens": visual, "text_tokens": len(mask) - visual}
        return {"visual_release": None} | curves | counts

    @torch.no_grad()
    def _curves_of_layers(
        self, raw: torch.Tensor, norm: Callable[[torch.Tensor], torch.Tensor], mask: torch.Tensor, first: int
    ) -> dict[str, torch.Tensor]:
        """Rows of the curves for l layers, by name.

        Args:
            raw: (l, N, D), the states before the final norm.
            norm: the final norm.
            mask: (N,) bool, True for visual tokens.
            first: the first of the layers.
        """
        norms = token_norms(raw)
        states = torch.stack([norm(state) for state in raw])
        groups = spectra(states, mask, k=self.entropy_k, first=first)
        found = {"visual": entropy(groups.visual), "text": entropy(groups.text), "joint": entropy(groups.joint)}
        for name, members in (("visual", mask), ("text", ~mask)):
            sinks = sink_curves(norms, states, members, found[name], self.entropy_k)
            found |= {f"{name}_sinks_{field}": rows for field, rows in sinks._asdict().items()}
        if self.release_curve:
            found["visual_release"] = truncated_matrix_entropy(states[:, mask], self.entropy_k, "release")
        return found | {"spectrum": groups.visual}

    def combine(self, items: Mapping[str, Item]) -> MeasuredSamples:
        measurements = Measurements(entropy_k=self.entropy_k)
        for item in items.values():
            measurements.add(item)
        return MeasuredSamples(measurements, {name: Answer.of(item) for name, item in items.items()})

    def cost(self, mean: MeanSample) -> float:
        # Without the KL curve, whose samples are counted apart.
        return mean.sample

    def _kl_curve(self, model: ProbedModel, inputs: Inputs) -> list[float]:
        kl = layer_redundancy(model.model, inputs, family=model.family, low_memory=model.low_memory)
        if not bool(kl.isfinite().all()):
            raise DataError("logits are not finite", remedy="load the model in bfloat16 or float32")
        return kl.tolist()
