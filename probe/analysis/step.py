"""Step `analysis`: all probes on one sample, which share its run; and for a few samples the images for the report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch

from halfv_core.errors import DataError
from halfv_core.interleaving import in_words
from halfv_core.placement import device_of
from probe.analysis.partners import inputs_over
from probe.analysis.records import AnalysedExample, ProbeResult
from probe.analyzers.probe import PROBES, Probe
from probe.calibration.budget.mean_sample import MeanSample
from probe.calibration.steps.examples import pictures_of
from probe.calibration.steps.step import Item, ProbedModel, Step
from probe.capture.prompt_run import PromptRun, Recording
from probe.data.inputs import inputs_of
from probe.data.samples import Sample
from probe.trials.answers import greedy_answer

SHARED_PASSES = 3.0
"""Runs of the full model that all probes share: for the states, for what is looked at, and for variants."""


class Analysed(NamedTuple):
    """The result of the step."""

    results: tuple[ProbeResult, ...]
    examples: tuple[AnalysedExample, ...]
    sample_ids: tuple[str, ...]


@dataclass(frozen=True)
class ProbeSamples(Step[Analysed]):
    """Measures every sample with every probe."""

    name = "analysis"
    skips_bad_samples = True

    probes: tuple[str, ...]
    max_new_tokens: int
    examples: frozenset[str] = frozenset()
    """Ids of the samples whose maps are kept."""
    partners: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)
    """By sample id, others about whose images its question may be asked; for probes that want `pairs`."""

    def measure(self, model: ProbedModel, sample: Sample) -> Item:
        shown = sample.open()
        inputs = inputs_of(model.processor, sample, device_of(model.model), shown)
        answer = greedy_answer(model.model, inputs, self.max_new_tokens).tolist()
        others = self.partners.get(sample.id, ())
        run = PromptRun(
            model.model,
            inputs,
            answer=answer,
            words=model.processor.words,
            over_others=partial(inputs_over, model, sample, inputs, others),
            family=model.family,
        )
        if not run.visual.any():
            raise DataError("there is no visual token", got=f"{len(run.visual)} tokens")
        regions = None
        if sample.id in self.examples:
            pictures, regions = pictures_of(model, inputs, shown)
        probes = {name: PROBES[name]() for name in self.probes}
        looked = _looked_at(probes, run)
        item: dict[str, Any] = {
            "probes": {
                name: probe.measure(run, looked.get(name, []), example=regions is not None)
                for name, probe in probes.items()
            },
        }
        if regions is not None:
            example = AnalysedExample(
                id=sample.id,
                question=in_words(sample.text),
                references=sample.answers,
                answer=model.processor.decode(torch.tensor(answer)),
                pictures=pictures,
                regions=regions,
            )
            item["example"] = example.model_dump(mode="json")
        return item

    def cost(self, mean: MeanSample) -> float:
        passes = SHARED_PASSES + sum(PROBES[name]().passes(mean.layers) for name in self.probes)
        return mean.inputs + mean.answer + passes * mean.prefill

    def combine(self, items: Mapping[str, Item]) -> Analysed:
        results = []
        for name in self.probes:
            probe = PROBES[name]()
            findings = probe.combine({id: item["probes"][name] for id, item in items.items()})
            results.append(ProbeResult(name=name, title=probe.title, question=probe.question, findings=tuple(findings)))
        examples = (AnalysedExample.model_validate(item["example"]) for item in items.values() if "example" in item)
        return Analysed(tuple(results), tuple(examples), tuple(items))


def _looked_at(probes: Mapping[str, Probe], run: PromptRun) -> dict[str, list[Any]]:
    """What the probes that look see at each layer, in one run that also records what they read later."""
    looking = {name: probe for name, probe in probes.items() if probe.looks}
    recording = frozenset[Recording]().union(*(probe.records for probe in probes.values()))
    if not looking and not recording:
        return {}
    seen = run.at_every_layer(
        lambda layer, prompt: {name: probe.look(layer, prompt, run) for name, probe in looking.items()},
        recording=recording,
    )
    return {name: [at_layer[name] for at_layer in seen] for name in looking}
