"""Draws the samples to use: seeded, balanced over question families, and only those that can be opened."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence

from halfv_core.errors import DataError
from probe.data.samples import Rejected, Sample, check_enough


def draw(samples: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    """Draw samples at random, from the question families in turn; all samples if there are fewer than `count`.

    Raises:
        DataError: count below 1.
    """
    check_count(count)
    return [sample for sample, _ in zip(_in_order(samples, seed), range(count), strict=False)]


def draw_readable(samples: Sequence[Sample], count: int, seed: int) -> tuple[list[Sample], list[Rejected]]:
    """Like `draw`, but skip samples with an image or a video that cannot be opened.

    Returns:
        The drawn samples, and the skipped ones with the reason.

    Raises:
        DataError: count below 1, or more samples with bad images than with good ones.
    """
    check_count(count)
    drawn: list[Sample] = []
    rejected: list[Rejected] = []
    for sample in _in_order(samples, seed):
        if len(drawn) == count or len(rejected) >= count:  # enough, or so many bad ones that the check fails
            break
        try:
            sample.open()
            drawn.append(sample)
        except DataError as error:
            rejected.append(Rejected.because(sample.id, error))
    check_enough("samples drawn", len(drawn), rejected, "mend their images or videos, or give others")
    return drawn, rejected


def check_count(count: int) -> None:
    """Raise DataError if no sample is asked for."""
    if count < 1:
        raise DataError("at least one sample is needed", got=count)


def _in_order(samples: Sequence[Sample], seed: int) -> Iterator[Sample]:
    """All samples, taking one from each family in turn; families and their samples are shuffled by the seed."""
    generator = random.Random(seed)
    families: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        families[sample.family or ""].append(sample)
    names = sorted(families)
    for name in names:
        generator.shuffle(families[name])
    generator.shuffle(names)
    while any(families.values()):
        for name in names:
            if families[name]:
                yield families[name].pop()


def hold_out(samples: Sequence[Sample], share: float) -> tuple[list[Sample], list[Sample]]:
    """Split drawn samples into those to measure on and a held-out share, which is taken from the front.

    Both parts are balanced over families, because a draw is balanced from its first sample on.

    Returns:
        The samples to measure on, and the held-out samples.

    Raises:
        DataError: a share outside 0..0.9.
    """
    if not 0.0 <= share <= 0.9:
        raise DataError("the held-out share is out of range", got=share, expected="0..0.9")
    count = int(len(samples) * share)
    return list(samples[count:]), list(samples[:count])
