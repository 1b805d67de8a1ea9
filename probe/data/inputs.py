"""From a sample to the inputs of a model."""

from collections.abc import Sequence

import torch

from halfv_core.conversation import Conversation
from halfv_core.processors import Inputs, PromptProcessor
from probe.data.samples import Sample

FRAMES_AS_IMAGES = "the model's processor takes no videos: their frames are given to it as images"
"""What to tell the user where that is so."""


def inputs_of(
    processor: PromptProcessor,
    sample: Sample,
    device: torch.device | str = "cpu",
    shown: Conversation | None = None,
) -> Inputs:
    """Prepare what a sample asks, with all that was said before, as a batch of one; see `PromptProcessor.conversation`.

    Args:
        processor: the checkpoint's.
        sample: the question.
        device: for the tensors.
        shown: the sample itself if it is opened already, or with other images and videos in place of its own.

    Raises:
        DataError: an image or a video cannot be opened or prepared.
    """
    messages, images, videos = shown or sample.open()
    return processor.conversation(messages, images, device, videos)


def frames_as_images(processor: PromptProcessor, samples: Sequence[Sample]) -> str | None:
    """What to tell the user if this processor takes no videos, but samples have some; None otherwise."""
    if processor.takes_videos or not any(sample.videos for sample in samples):
        return None
    return FRAMES_AS_IMAGES
