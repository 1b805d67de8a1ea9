"""Which other samples' images a sample's question may be asked about, for probes that compare two images."""

from collections.abc import Iterator, Mapping, Sequence

import torch

from halfv_core.errors import DataError
from halfv_core.placement import device_of
from probe.calibration.steps.step import ProbedModel
from probe.data.inputs import inputs_of
from probe.data.samples import Sample
from probe.trials.answers import Inputs

CONSIDERED = 100
"""Samples behind a sample that may become its partners."""
PARTNERS = 8
"""Partners of a sample, of which not all need fit."""


def partners_of(samples: Sequence[Sample]) -> dict[str, tuple[Sample, ...]]:
    """Other samples with as many images and videos, by sample id: first those with the same prompt, then its family.

    Of equals the next ones in the order of the samples come first; the first sample follows the last one.
    """
    found, steps = {}, range(1, min(len(samples), CONSIDERED + 1))
    for place, sample in enumerate(samples):
        others = (samples[(place + step) % len(samples)] for step in steps)
        fit = [one for one in others if _counts(one) == _counts(sample) and _shown(one) != _shown(sample)]
        fit.sort(key=lambda one: (one.text != sample.text, one.family != sample.family))
        found[sample.id] = tuple(fit[:PARTNERS])
    return found


def _shown(sample: Sample) -> tuple[object, object]:
    return sample.images, sample.videos


def _counts(sample: Sample) -> tuple[int, int]:
    return len(sample.images), len(sample.videos)


def inputs_over(model: ProbedModel, sample: Sample, inputs: Inputs, others: Sequence[Sample]) -> Iterator[Inputs]:
    """The inputs of a sample's prompt over the images and videos of others, where all tokens are in the same places.

    Args:
        inputs: those of the sample itself.
    """
    for other in others:
        try:
            shown = other.open()._replace(messages=sample.messages)
            found = inputs_of(model.processor, sample, device_of(model.model), shown)
        except DataError:
            continue  # the other sample will be reported when it is measured itself
        if same_places(inputs, found):
            yield found


def same_places(inputs: Mapping[str, torch.Tensor], others: Mapping[str, torch.Tensor]) -> bool:
    """Whether two inputs differ in nothing but pixels: token ids, masks and sizes of grids are the same."""
    return inputs.keys() == others.keys() and all(
        value.shape == others[name].shape and (value.is_floating_point() or torch.equal(value, others[name]))
        for name, value in inputs.items()
    )
