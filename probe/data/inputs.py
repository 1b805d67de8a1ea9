"""From a sample to the inputs of a model."""

from collections.abc import Sequence

import torch
from PIL import Image

from halfv_core.processors import Inputs, PromptProcessor
from probe.data.samples import Sample


def inputs_of(
    processor: PromptProcessor,
    sample: Sample,
    device: torch.device | str = "cpu",
    images: Sequence[Image.Image] | None = None,
) -> Inputs:
    """Prepare what a sample asks, with all that was said before, as a batch of one; see `PromptProcessor.conversation`.

    Args:
        processor: the checkpoint's.
        sample: the question.
        device: for the tensors.
        images: the sample's own if they are decoded already, or as many others in their place.

    Raises:
        DataError: an image cannot be opened or prepared.
    """
    return processor.conversation(sample.messages, sample.open_images() if images is None else images, device)
