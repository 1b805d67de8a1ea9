"""Spectral energy against closed forms for waves, a slow transform and its behaviour on grids."""

import cmath
import math

import pytest
import torch

from halfv_core.selectors.clse import high_pass
from probe.analyzers.one_run.spectral_energy import SpectralEnergy, energy_shares
from probe.capture.grids import places
from probe.capture.prompt_run import PromptRun
from tests.tiny import LAYERS, tiny_model, tiny_prompt


def wave(size: int, vertical: int, horizontal: int) -> torch.Tensor:
    """(size, size) cosine of so many cycles over the grid."""
    place = torch.arange(size)
    return torch.cos(2 * math.pi * (vertical * place[:, None] + horizontal * place) / size)


def shares(picture: torch.Tensor) -> list[float]:
    """Of one image (h, w) or (h, w, D)."""
    height, width = picture.shape[:2]
    return energy_shares(picture.reshape(height * width, -1), places([(1, height, width)])).tolist()


@pytest.mark.parametrize("cycles", [(0, 1), (3, 0), (2, 2), (0, 4), (0, 5), (3, 3), (4, 3), (8, 8)])
def test_a_wave_on_a_mean(cycles: tuple[int, int]) -> None:
    """A wave of amplitude 1 has half the energy of a mean of 1; at the highest frequency, all of it."""
    picture = 1 + wave(16, *cycles)
    energy = 1.0 if cycles == (8, 8) else 0.5
    passed = float(high_pass(16, 16, torch.device("cpu"))[cycles]) ** 2
    short = float(math.hypot(*cycles) > 4)
    assert shares(picture) == pytest.approx([passed * energy / (1 + energy), passed, short], abs=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, 7.0])
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 5)])
def test_an_even_picture_has_no_detail(value: float, size: tuple[int, int]) -> None:
    assert shares(torch.full((*size, 3), value)) == [0.0, 0.0, 0.0]


def test_against_a_slow_transform() -> None:
    height, width, channels = 5, 6, 2
    picture = torch.randn(height, width, channels, generator=torch.Generator().manual_seed(0)).double() + 1
    passed, energies = high_pass(height, width, torch.device("cpu")).tolist(), [0.0] * 4
    for f in range(height):
        for g in range(width):
            turn = [[-2j * math.pi * (f * y / height + g * x / width) for x in range(width)] for y in range(height)]
            power = sum(
                abs(sum(float(picture[y, x, c]) * cmath.exp(turn[y][x]) for y in range(height) for x in range(width)))
                ** 2
                for c in range(channels)
            )
            cycles = math.hypot(min(f, height - f) / height, min(g, width - g) / width)
            varying = (f, g) != (0, 0)
            for index, weight in enumerate((1, varying, passed[f][g] ** 2, cycles > 0.25)):
                energies[index] += weight * power
    whole, varying, high, short = energies
    assert shares(picture) == pytest.approx([high / whole, high / varying, short / varying], abs=1e-6)


def test_shuffled_tokens_have_the_share_of_white_noise() -> None:
    smooth = torch.stack([wave(64, 1, 0), wave(64, 0, 2)], -1).reshape(-1, 2)
    shuffled = smooth[torch.randperm(len(smooth), generator=torch.Generator().manual_seed(0))]
    assert shares(smooth.view(64, 64, 2))[2] == pytest.approx(0.0, abs=1e-6)
    assert shares(shuffled.view(64, 64, 2))[2] == pytest.approx(1 - math.pi / 16, abs=0.01)


def test_scale_and_rotation_do_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    picture = torch.randn(6, 7, 8, generator=generator)
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q
    assert shares(30 * picture @ rotation) == pytest.approx(shares(picture), abs=1e-5)


def test_energies_of_images_and_frames_add_up() -> None:
    """Each frame loses its own mean."""
    frames = torch.stack([1 + wave(8, 0, 1), 5 + 2 * wave(8, 3, 3)])
    still = 3 + wave(16, 6, 0)
    states = torch.cat([frames.flatten(), still.flatten()])[:, None]
    got = energy_shares(states, places([(2, 8, 8), (1, 16, 16)]))
    energies = [64 * 0.5, 64 * 4 * 0.5, 256 * 0.5]
    short = (energies[1] + energies[2]) / sum(energies)
    assert float(got[2]) == pytest.approx(short, abs=1e-5)
    assert float(got[0] / got[1]) == pytest.approx(
        sum(energies) / (64 * 1 + 64 * 25 + 256 * 9 + sum(energies)), abs=1e-5
    )


def test_findings_are_of_states_after_the_final_norm() -> None:
    probe = SpectralEnergy()
    run = PromptRun(tiny_model("llava_next"), tiny_prompt("llava_next", images=2))
    items = {"a": probe.measure(run, [], example=False), "b": None}
    findings = probe.combine(items)
    assert [finding.name for finding in findings] == ["energy_high", "energy_varying", "energy_short"]
    assert all(finding.samples == 1 and len(finding.mean) == LAYERS + 1 for finding in findings)
    assert run.grids is not None
    last = energy_shares(run.normed[-1, run.visual], run.grids)
    assert [finding.mean[-1] for finding in findings] == pytest.approx(last.tolist())


def test_families_without_known_grids_have_no_finding() -> None:
    run, probe = PromptRun(tiny_model("internvl"), tiny_prompt("internvl")), SpectralEnergy()
    item = probe.measure(run, [], example=False)
    assert item is None and probe.combine({"a": item}) == []
