"""Sink channels and sinks, against the peer's function and on states with planted activations."""

import math
from types import SimpleNamespace

import pytest
import torch

from probe.analyzers.sink_channels import (
    are_sinks,
    massiveness,
    model_channels,
    sink_channels,
    visual_sinks,
)
from probe.capture.hidden_states import Capture
from probe.capture.prompt_run import PromptRun
from tests.tiny import LAYERS, tiny_model, tiny_prompt


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_massive_channels_are_measured_by_the_others() -> None:
    states = torch.zeros(4, 16)
    states[0, 1:8] = 2.0
    states[0, 4] = -60.0
    states[1, [4, 5]] = torch.tensor([8.0, -8.0])  # nothing else
    states[2] = 3.0
    found = massiveness(states, torch.tensor([4, 5]))
    rms = math.sqrt(5 * 4 / 14)
    torch.testing.assert_close(found[0], torch.tensor([60 / rms, 2 / rms], dtype=torch.float64))
    torch.testing.assert_close(found[2:], torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64))
    assert are_sinks(states, torch.tensor([4, 5])).tolist() == [True, True, False, False]


@pytest.mark.parametrize("width", [24, 128, 4096])
def test_twenty_times_the_others_is_massive_at_any_width(width: int) -> None:
    """The published quotient, by the RMS of all channels, cannot exceed 20 with fewer than 400 of them."""
    states = torch.ones(3, width)
    states[:, 2] = torch.tensor([20.1, -20.1, 19.9])
    states[1, 3] = 19.0
    assert are_sinks(states, torch.tensor([2, 3])).tolist() == [True, True, False]
    published = states[0, 2] / states[0].square().mean().sqrt()
    assert published == pytest.approx(20.1 / math.sqrt(1 + (20.1**2 - 1) / width))
    assert (published > 19) == (width == 4096)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_are_those_in_which_the_first_token_is_massive_at_most_states(dtype: torch.dtype) -> None:
    """As massive activations are: not yet at the first states, not any more at the last."""
    first = noise(12, 64)
    first[2:11, [41, 7]] = torch.tensor([300.0, -500.0])
    first[0, 3] = 1000.0
    assert sink_channels(first.to(dtype)).tolist() == [7, 41]


@pytest.mark.parametrize(
    ("kind", "vocabulary", "width", "published"),
    [
        ("llama", 32000, 4096, [1415, 2533]),
        ("llama", 32064, 5120, [2100, 4743]),
        ("llama", 128256, 4096, None),
        ("mistral", 32000, 4096, None),
        ("llama", 32000, 2048, None),
    ],
)
def test_published_channels_are_taken_for_llama_2_alone(
    kind: str, vocabulary: int, width: int, published: list[int] | None
) -> None:
    """Llama 3 and Mistral are as wide, and have channels of their own."""
    first = torch.ones(3, width)
    first[:, [5, 6]] = 50.0
    found = sink_channels(first, SimpleNamespace(model_type=kind, vocab_size=vocabulary))
    assert found.tolist() == (published or [5, 6])


def test_sinks_of_a_run_are_visual_tokens_with_the_first_tokens_channels() -> None:
    """A text token with them is none, and neither is a visual token that is massive elsewhere."""
    run = PromptRun(tiny_model("qwen2_vl"), tiny_prompt("qwen2_vl", images=2))
    states, visual = run.states.clone(), run.visual.nonzero()[:, 0]
    states[:, 0, [9, 20]] = 9000.0
    states[2:, visual[3], 20] = -8000.0
    states[3, visual[17], 9] = 8000.0
    states[:, visual[5], 11] = 8000.0
    states[:, -1, 9] = 8000.0
    run.__dict__["_raw"] = Capture(states, run.visual)
    assert model_channels(run).tolist() == [9, 20]
    expected = torch.zeros(LAYERS, len(visual), dtype=torch.bool)
    expected[2:, 3] = expected[3, 17] = True
    assert torch.equal(visual_sinks(run), expected)
