"""A prompt without a model: what a selector may know of it, from given hidden states and one attention layer's weights.

The layer is an RMS norm without weights, three matrices, and rotary positions with base 10000, as in Llama.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch

from halfv_core.precision import no_autocast
from halfv_core.selectors.prompt import At, VisionReadings
from tests.vision_readings import random_prompt as random_readings


class StubPrompt:
    """Implements `Prompt`. All layers have the same weights, and differ in what enters them.

    Args:
        own: (n, D) input of the own layer.
        start: token index of the first visual token.
        visual: number of visual tokens, which follow each other.
        weights: of queries (H d, D), keys (H_kv d, D) and values (H_kv d, D).
        heads: H.
        previous: (n, D) input of the layer before; `own` if not given.
        first: (n, D) input of layer 0; `own` if not given.
        normed: whether these states have gone through the norm already.
    """

    def __init__(
        self,
        own: torch.Tensor,
        start: int,
        visual: int,
        weights: Sequence[torch.Tensor],
        heads: int,
        *,
        previous: torch.Tensor | None = None,
        first: torch.Tensor | None = None,
        grids: Sequence[tuple[int, int, int]] = (),
        transitions: torch.Tensor | None = None,
        vision: VisionReadings | None = None,
        normed: bool = False,
    ) -> None:
        self._states = {
            "own": own,
            "previous": own if previous is None else previous,
            "input": own if first is None else first,
        }
        self._weights, self._heads, self._transitions, self._vision = weights, heads, transitions, vision
        self._skip_norm = normed
        self._width = len(weights[0]) // heads  # of a head
        tokens = torch.arange(len(own))
        self.visual = tokens[start : start + visual]
        self.question = tokens[start + visual :]
        self.text = torch.cat([tokens[:start], self.question])
        self.device = own.device
        self.grids = grids

    def widen(self) -> None:
        """Hold the same hidden states in float32."""
        self._states = {of: states.float() for of, states in self._states.items()}

    def hidden(self, of: Literal["own", "previous", "input"] = "own") -> torch.Tensor:
        return self._states[of]

    def normed_hidden(self) -> torch.Tensor:
        return self._normed("own")

    def queries(self, tokens: torch.Tensor, at: At = "previous", *, rope: bool = True) -> torch.Tensor:
        return self._project(0, at, rope)[:, tokens]

    def keys(self, at: At = "previous", *, rope: bool = True) -> torch.Tensor:
        return self._project(1, at, rope)

    def values(self, at: At = "previous") -> torch.Tensor:
        return self._project(2, at, rope=False)

    def attention(self, tokens: torch.Tensor, at: At = "previous") -> torch.Tensor:
        return self.attention_logits(tokens, at).softmax(-1)

    def attention_logits(self, tokens: torch.Tensor, at: At = "previous") -> torch.Tensor:
        keys = self.keys(at)
        keys = keys.repeat_interleave(self._heads // len(keys), 0)
        with no_autocast(self.device):
            logits = self.queries(tokens, at) @ keys.mT / math.sqrt(self._width)
        unseen = torch.arange(len(self._states["own"])) > tokens[:, None]
        return logits.masked_fill(unseen, -torch.inf)

    def rotary(self) -> tuple[torch.Tensor, torch.Tensor]:
        frequencies = 10000.0 ** -(torch.arange(0, self._width, 2) / self._width)
        angles = torch.arange(len(self._states["own"]))[:, None] * frequencies
        return torch.cat([angles.cos()] * 2, 1), torch.cat([angles.sin()] * 2, 1)

    def transitions(self) -> torch.Tensor:
        assert self._transitions is not None
        return self._transitions

    def vision(self) -> VisionReadings:
        assert self._vision is not None
        return self._vision

    def _normed(self, of: Literal["own", "previous", "input"]) -> torch.Tensor:
        states = self._states[of].float()
        return states if self._skip_norm else states * (states.square().mean(-1, keepdim=True) + 1e-6).rsqrt()

    def _project(self, which: int, at: At, rope: bool) -> torch.Tensor:
        with no_autocast(self.device):
            states = self._normed(at) @ self._weights[which].T
        states = states.view(len(states), -1, self._width).transpose(0, 1)  # (heads, n, d)
        if not rope:
            return states
        cosine, sine = self.rotary()
        front, back = states.chunk(2, -1)
        return states * cosine + torch.cat([-back, front], -1) * sine


def random_prompt(
    visual: int,
    seed: int = 0,
    *,
    copies: bool = False,
    start: int = 3,
    question: int = 4,
    dtype: torch.dtype = torch.float32,
    scale: float = 1.0,
) -> StubPrompt:
    """A prompt of `visual` random tokens (or so many copies of one) among random text; 4 heads share 2 key heads."""
    generator = torch.Generator().manual_seed(seed)
    length = start + visual + question
    inputs = [(scale * torch.randn(length, 32, generator=generator)).to(dtype) for _ in range(3)]
    if copies:
        for states in inputs:
            states[start : start + visual] = states[start].clone()
    weights = [torch.randn(width, 32, generator=generator) / 32**0.5 for width in (32, 16, 16)]
    transitions = torch.rand(3, 2, length, generator=generator)
    if copies:
        transitions[..., start : start + visual] = 0.5
    features = inputs[2][start : start + visual].float()  # as wide as the states, so that they can be merged into them
    return StubPrompt(
        inputs[0],
        start,
        visual,
        weights,
        4,
        previous=inputs[1],
        first=inputs[2],
        grids=((1, 1, visual),),
        transitions=transitions,
        vision=replace(random_readings(visual, seed, equal=copies).readings, tower_features=features),
    )
