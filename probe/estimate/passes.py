"""How long a calibration takes: forward passes of a prompt, and what these are in FLOPs and hours.

Passes are those of the steps' own cost estimates (`probe.calibration.cost_estimates`), with a pass of a prompt through
the decoder as the unit; passes of some layers or tokens count as that part. Decoding the answers is not counted, and a
pass of the vision tower is not counted apart.
"""

from typing import NamedTuple

from halfv_core.cost import LayerTokens
from probe.estimate.sizes import ModelSizes


class Passes(NamedTuple):
    """Forward passes of one prompt."""

    total: float
    """Of all samples together."""
    samples: int

    @property
    def per_sample(self) -> float:
        """The mean."""
        return self.total / self.samples


def passes(sizes: ModelSizes, visual: int, text: int, samples: int) -> Passes:
    """What a calibration with default settings takes on so many samples, none of them certifying.

    Args:
        sizes: of the model.
        visual: visual tokens of a prompt.
        text: other tokens.
        samples: number of samples, those that are held out included.
    """
    from probe.calibration.budget.budget import Work
    from probe.calibration.cost_estimates import CostEstimator
    from probe.calibration.settings import Settings

    settings = Settings(samples=samples)
    item = {
        "visual_tokens": visual, "text_tokens": text, "kl": [],
        "seconds": dict.fromkeys(("inputs", "reading"), 0.0)
        | {"prefill": 1.0, "answer": 2.0, "sample": 3.0, "kl": (sizes.decoder.layers + 1) / 2},
    }  # fmt: skip
    estimates = CostEstimator(settings, sizes.decoder)
    estimates.add(item)
    held_out = int(samples * settings.held_out)
    count = samples - held_out
    work = Work(
        count, held_out, count, count, examples=min(settings.examples, samples), kl=min(settings.kl_samples, count)
    )
    return Passes(estimates().of(work), samples)


def pass_flops(sizes: ModelSizes, visual: int, text: int) -> int:
    """FLOPs of a pass of one prompt through the decoder."""
    return sizes.decoder.layers * sizes.decoder.prefill_flops(LayerTokens(visual, text))
