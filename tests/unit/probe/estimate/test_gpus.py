"""Replicas share out the GPUs, and nothing that does not fit is called fitting."""

import pytest

from halfv_core.errors import HalfVError
from probe.estimate.gpus import RUNTIME_BYTES, Gpus, Way, best_layout, layout, weight_bytes
from probe.estimate.memory import peaks
from probe.estimate.sizes import KNOWN

PLAIN = Way(False, None)


@pytest.mark.parametrize("text, expected", [("8x80GB", (8, 80e9)), ("24GB", (1, 24e9)), ("2 x 40.5 gb", (2, 40.5e9))])
def test_gpus_as_they_are_typed(text: str, expected: tuple[int, float]) -> None:
    assert Gpus.parse(text) == expected


@pytest.mark.parametrize("text", ["", "8x", "x80GB", "0x80GB", "8x0GB", "80", "8*80GB", "-1x80GB", "8x80GiB"])
def test_other_gpus_are_refused(text: str) -> None:
    with pytest.raises(HalfVError, match="bad --gpus.*expected NUMBERxSIZE, as in 8x80GB"):
        Gpus.parse(text)


def test_one_replica_a_gpu_where_it_fits_and_fewer_where_it_does_not() -> None:
    small = layout(KNOWN["qwen2.5-vl-7b"], Gpus.parse("8x80GB"), 2500, 60, PLAIN)
    large = layout(KNOWN["qwen2.5-vl-72b"], Gpus.parse("8x80GB"), 2500, 60, PLAIN)
    assert (small.replicas, small.gpus_each) == (8, 1)
    assert (large.replicas, large.gpus_each) == (2, 4)


@pytest.mark.parametrize("gpus", ["1x8GB", "1x24GB", "2x24GB", "3x24GB", "4x48GB", "6x80GB", "8x80GB"])
@pytest.mark.parametrize("name", sorted(KNOWN))
def test_nothing_that_does_not_fit_is_called_fitting(name: str, gpus: str) -> None:
    machine, sizes = Gpus.parse(gpus), KNOWN[name]
    for visual in (576, 2500, 20_000):
        found = best_layout(sizes, machine, visual, 60, PLAIN)
        if not found.fits:
            assert all(not layout(sizes, machine, visual, 60, Way(True, load)).fits for load in (None, "8bit", "4bit"))
            assert found.gpus_each > machine.number or found.needed > machine.memory
            continue
        assert found.replicas * found.gpus_each == machine.number
        beside = peaks(sizes, visual, 60, low_memory=found.way.low_memory, accelerator=True).most
        bits = {None: 2.0, "8bit": 1.0, "4bit": 0.5}[found.way.load_in]
        least = sizes.decoder.layers * sizes.layer_parameters * bits / found.gpus_each
        assert least + beside + RUNTIME_BYTES < machine.memory
        assert found.way == PLAIN or not layout(sizes, machine, visual, 60, PLAIN).fits


def test_weights_of_one_gpu_are_all_weights() -> None:
    for sizes in KNOWN.values():
        assert weight_bytes(sizes, 1) == pytest.approx(2 * sizes.parameters, rel=1e-9)
        shares = [weight_bytes(sizes, count) for count in (1, 2, 4, 8)]
        assert shares == sorted(shares, reverse=True)
        assert 2 * shares[1] >= shares[0] > weight_bytes(sizes, 1, "8bit") > weight_bytes(sizes, 1, "4bit")
