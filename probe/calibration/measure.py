"""What is measured on one sample: its curves and the full model's answer, as a record that a journal can hold."""

import time
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel

from halfv_core.errors import DataError
from halfv_core.families import Family, parts_of
from halfv_core.processors import PromptProcessor
from halfv_core.runtime.layout import TokenLayout
from probe.analyzers.layer_redundancy import layer_redundancy
from probe.analyzers.tme import entropy, spectra, truncated_matrix_entropy
from probe.calibration.settings import Settings
from probe.capture.hidden_states import Capture, capture
from probe.data.samples import Sample
from probe.trials.answers import Inputs, greedy_answer, read_answer
from probe.trials.try_plans import Case

Note = dict[str, Any]
"""Plain values only; `rejected` alone, with the reason, where the sample cannot be used."""


class SampleMeter:
    """Measures samples, each by itself."""

    def __init__(
        self, model: PreTrainedModel, processor: PromptProcessor, settings: Settings, family: Family | None
    ) -> None:
        self._model = model
        self._processor = processor
        self._settings = settings
        self._family = family
        self._visual_ids = parts_of(model, family).visual_ids

    def curves(self, sample: Sample) -> Note:
        """Curves, tokens, the full model's answer, and the seconds that each took."""
        began = time.monotonic()
        try:
            inputs = self.inputs(sample)
            opened = time.monotonic()
            states = capture(self._model, inputs, family=self._family)
            groups = spectra(states.hidden, states.visual, k=self._settings.entropy_k)
            kl = layer_redundancy(self._model, inputs, family=self._family)
            if not bool(kl.isfinite().all()):
                raise DataError("logits are not finite", remedy="load the model in bfloat16 or float32")
            note = self._answered(inputs)
        except DataError as error:
            return {"rejected": str(error)}
        note["seconds"] |= {"inputs": opened - began, "sample": time.monotonic() - began}
        return note | {
            "visual": entropy(groups.visual).tolist(),
            "text": entropy(groups.text).tolist(),
            "joint": entropy(groups.joint).tolist(),
            "spectrum": groups.visual.tolist(),
            "kl": kl.tolist(),
            "visual_release": self._release_curve(states),
            "visual_tokens": int(states.visual.sum()),
            "text_tokens": int((~states.visual).sum()),
        }

    def answer(self, sample: Sample) -> Note:
        """The full model's answer alone."""
        try:
            inputs = self.inputs(sample)
            if not TokenLayout.find(inputs["input_ids"], self._visual_ids).has_visual:
                raise DataError("there is no visual token", got=f"{inputs['input_ids'].shape[1]} tokens")
            return self._answered(inputs)
        except DataError as error:
            return {"rejected": str(error)}

    def case(self, sample: Sample, note: Note) -> Case:
        """The sample with its answer, for trials."""
        answer = torch.tensor(note["answer"], device=self._model.device)
        return Case(partial(self.inputs, sample), answer, note["log_likelihood"], sample.id)

    def inputs(self, sample: Sample) -> Inputs:
        """Model inputs of its prompt.

        Raises:
            DataError: an image that cannot be opened or prepared.
        """
        return self._processor.prompt(sample.open_images(), sample.prompt, self._model.device)

    def _answered(self, inputs: Inputs) -> Note:
        began = time.monotonic()
        answer = greedy_answer(self._model, inputs, self._settings.max_new_tokens)
        answered = time.monotonic()
        read = read_answer(self._model, inputs, answer)
        ended, prefill = time.monotonic(), read.first_token_seconds
        seconds = {"prefill": prefill, "reading": ended - answered - prefill, "answer": ended - began}
        return {"answer": answer.tolist(), "log_likelihood": read.log_likelihood, "seconds": seconds}

    def _release_curve(self, states: Capture) -> list[float] | None:
        if not self._settings.release_curve:
            return None
        visual = states.hidden[:, states.visual]  # (L+1, V, D)
        return truncated_matrix_entropy(visual, self._settings.entropy_k, "release").tolist()
