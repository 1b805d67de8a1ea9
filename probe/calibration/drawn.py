"""DrawnSamples: the samples of a calibration, split into calibration samples and held-out samples."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from halfv_core.errors import DataError
from probe.calibration.budget.budget import Work
from probe.calibration.method_plan import MEASURING
from probe.calibration.settings import Settings
from probe.data.draw import draw_readable, hold_out
from probe.data.samples import Rejected, Sample


class DrawnSamples(NamedTuple):
    """The samples, drawn once before the model runs."""

    all: list[Sample]
    calibration: list[Sample]
    held_out: list[Sample]
    """Samples that the plan is checked on, after it was chosen on the calibration samples: a share of those asked for,
    then further ones."""
    further: int
    """Number of the further ones."""
    unreadable: list[Rejected]
    """Samples skipped in the draw because an image cannot be opened."""

    @classmethod
    def draw(cls, samples: Sequence[Sample], settings: Settings) -> "DrawnSamples":
        """Draw and split the samples as the settings say.

        Raises:
            DataError: too few samples, too few that can be opened, or two with the same id.
        """
        drawn, unreadable = draw_readable(samples, settings.samples + settings.certify, settings.seed)
        duplicates = [name for name, count in Counter(sample.id for sample in drawn).items() if count > 1]
        if duplicates:
            raise DataError("ids of samples must differ", got=f"{duplicates[0]!r} more than once")
        calibration, held_out = hold_out(drawn[: settings.samples], settings.held_out)
        further = drawn[settings.samples :]
        if len(calibration) < 2:
            raise DataError("too few samples to calibrate on", got=len(calibration), expected="2 or more")
        return cls(drawn, calibration, [*held_out, *further], len(further), unreadable)

    def requested_work(self, settings: Settings) -> Work:
        """The work of a calibration on these samples if no budget limits it."""
        count, held_out, examples = len(self.calibration), len(self.held_out) - self.further, settings.examples
        kl = min(settings.kl_samples, count)
        if settings.method is None:
            return Work(count, held_out, count, count, certify=self.further, examples=examples, kl=kl)
        measured = count if settings.method in MEASURING else 0
        return Work(
            count, held_out, 0, 0, surface=False, causes=False, search=False, certify=self.further,
            examples=examples, method=measured, kl=kl,
        )  # fmt: skip
