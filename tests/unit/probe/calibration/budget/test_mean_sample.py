"""The mean sample: what its times are when only some samples have a KL curve."""

from typing import Any

import pytest

from probe.calibration.budget.mean_sample import MeanSample


def item(sample: float, kl: float | None) -> dict[str, Any]:
    times = {"inputs": 1.0, "prefill": 1.0, "reading": 1.0, "answer": 2.0, "sample": sample, "kl": kl or 0.0}
    return {"visual_tokens": 8, "text_tokens": 4, "kl": None if kl is None else [0.1, 0.0], "seconds": times}


@pytest.mark.parametrize(
    ("items", "sample", "kl"),
    [
        ([item(9.0, 90.0)], 9.0, 90.0),  # warm-up counts if it is all there is
        ([item(9.0, 90.0), item(4.0, 30.0), item(6.0, 50.0)], 5.0, 40.0),
        ([item(9.0, 90.0), item(4.0, 30.0), item(6.0, None), item(8.0, None)], 6.0, 30.0),
        ([item(9.0, 90.0), item(6.0, None), item(8.0, None)], 7.0, 90.0),
        ([item(9.0, None), item(5.0, None)], 5.0, 0.0),
    ],
)
def test_samples_with_and_without_a_kl_curve_are_averaged_apart(
    items: list[dict[str, Any]], sample: float, kl: float
) -> None:
    mean = MeanSample.of(items, layers=3)
    assert (mean.sample, mean.kl, mean.answer, mean.visual) == (sample, kl, 2.0, 8)
