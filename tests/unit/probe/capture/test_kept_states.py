"""States come back as they were, and with low memory take none while they are away."""

import pytest
import torch

from probe.bench.meters import TensorMemory
from probe.capture.kept_states import KeptStates
from probe.capture.layer_calls import LayerCalls
from probe.capture.replay import Replay
from tests.tiny import TINY, tiny_model, tiny_prompt


@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_states_come_back_bit_for_bit(dtype: torch.dtype, low_memory: bool) -> None:
    states = [torch.randn(1, 3 + index, 8).to(dtype) for index in range(4)]
    states[2] = states[2].transpose(1, 2)[:, ::2]  # not contiguous
    kept = KeptStates(low_memory=low_memory)
    for state in states:
        kept.append(state)
    assert len(kept) == 4
    for _ in range(2):
        assert all(torch.equal(one, other) and one.dtype == dtype for one, other in zip(kept, states, strict=True))
    assert torch.equal(kept[-1], states[-1])
    assert [one.shape for one in kept[1:3]] == [states[1].shape, states[2].shape]


def test_states_that_are_away_take_no_memory() -> None:
    def kept_bytes(low_memory: bool) -> int:
        with TensorMemory() as memory:
            kept = KeptStates(low_memory=low_memory)
            for _ in range(5):
                kept.append(torch.zeros(1, 100, 10))
            assert kept[2].shape == (1, 100, 10)
            return memory.live

    assert (kept_bytes(False), kept_bytes(True)) == (20_000, 0)


@pytest.mark.parametrize("family", sorted(TINY))
@torch.no_grad()
def test_runs_are_the_same_from_states_that_were_away(family: str) -> None:
    model, inputs = tiny_model(family), tiny_prompt(family, images=2)
    calls, away = (LayerCalls.record(model, inputs, low_memory=low_memory) for low_memory in (False, True))
    assert all(torch.equal(one, other) for one, other in zip(calls.states, away.states, strict=True))
    found = []
    for low_memory in (False, True):
        with Replay(model, inputs, low_memory=low_memory).from_layer(3):
            output = model(**inputs, use_cache=True)
        found.append((output.logits, *(layer.values for layer in output.past_key_values.layers)))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
