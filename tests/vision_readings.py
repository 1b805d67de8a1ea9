"""A prompt for selectors that look at the vision tower only: random readings, or given ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch


@dataclass
class Readings:
    """See `VisionReadings`; every layer of the tower looks different."""

    tower_attention: torch.Tensor
    """(layers, V)."""
    tower_keys: torch.Tensor
    """(layers, V, d)."""
    tower_features: torch.Tensor
    """(V, D_v)."""
    has_cls: bool = True

    def attention(self, layer: int, *, whole: bool = False) -> torch.Tensor:
        return self.tower_attention[layer]

    def column_mean(self, layer: int, *, whole: bool = False) -> torch.Tensor:
        return self.tower_attention[layer].flip(0)

    def keys(self, layer: int, *, whole: bool = False) -> torch.Tensor:
        return self.tower_keys[layer]

    def features(self) -> torch.Tensor:
        return self.tower_features

    def project(self, features: torch.Tensor) -> torch.Tensor:
        return features.tanh()


@dataclass
class VisionPrompt:
    """Visual tokens between 3 text tokens before and 4 behind them."""

    readings: Readings
    states: torch.Tensor
    """(V, D) of the visual tokens."""
    grids: Sequence[tuple[int, int, int]] = field(default_factory=list)

    @property
    def visual(self) -> torch.Tensor:
        return torch.arange(3, 3 + len(self.states))

    @property
    def device(self) -> torch.device:
        return self.states.device

    def hidden(self, of: str = "own") -> torch.Tensor:
        text = torch.zeros(4, self.states.shape[1])
        return torch.cat([text[:3], self.states, text])

    def vision(self) -> Readings:
        return self.readings


def random_prompt(visual: int, seed: int = 0, *, equal: bool = False) -> VisionPrompt:
    """A prompt of one image, a row of `visual` tokens; `equal` for tokens that are copies of each other."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.ones(shape) if equal else torch.rand(shape, generator=generator)

    attention = numbers(12, visual).softmax(1)
    readings = Readings(attention, numbers(12, visual, 6) - 0.5, numbers(visual, 5) - 0.5)
    return VisionPrompt(readings, numbers(visual, 5) - 0.5, [(1, 1, visual)])
