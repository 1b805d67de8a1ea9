"""HoloV: quotas of stretches of the sequence, filled by attention."""

import pytest
import torch

from halfv_core.errors import PlanError
from halfv_core.selectors.holov import HoloV, within_quotas
from tests.peers import peer_cases
from tests.vision_readings import Readings, VisionPrompt, random_prompt


@pytest.mark.parametrize("case", peer_cases("holov"))
def test_the_tokens_are_the_peers(case: dict) -> None:
    kept = within_quotas(case["tokens"], case["attention"], case["chunks"], case["keep"])
    expected = case["qwen_positions"]
    assert kept.nonzero()[:, 0].tolist() == expected[expected >= 0].sort().values.tolist()  # -1: appended zeros


def slow_quotas(states: torch.Tensor, attention: torch.Tensor, chunks: int, count: int) -> list[int]:
    """The indices kept, one stretch and one token at a time."""
    stretches = torch.arange(len(attention)).tensor_split(chunks)
    scores = []
    for stretch in stretches:
        unit = torch.nn.functional.normalize(states[stretch], dim=1)
        spread = []
        for token in range(len(stretch)):
            similar = unit @ unit[token]
            similar[token] = 0.0
            spread.append(((similar - similar.sum() / (len(stretch) - 1)) ** 2).sum() / (len(stretch) - 1))
        mean = 1e3 * attention[stretch].mean()
        scaled = torch.stack(spread) * mean / (torch.stack(spread).mean() + 1e-6)
        scores.append(float(mean + 0.09 * scaled.mean()))
    quotas = [int(count * score / sum(scores)) for score in scores]
    for index in sorted(range(chunks), key=lambda i: -scores[i])[: count - sum(quotas)]:
        quotas[index] += 1
    kept: list[int] = []
    for stretch, quota in zip(stretches, quotas, strict=True):
        kept += stretch[attention[stretch].argsort(descending=True)[:quota]].tolist()
    return sorted(kept)


@pytest.mark.parametrize(("visual", "chunks", "count"), [(30, 4, 7), (31, 6, 20), (9, 4, 8)])
def test_stretches_of_any_length(visual: int, chunks: int, count: int) -> None:
    prompt = random_prompt(visual, seed=visual)
    attention = prompt.readings.attention(0) ** 3
    kept = within_quotas(prompt.states, attention, chunks, count)
    assert kept.nonzero()[:, 0].tolist() == slow_quotas(prompt.states, attention, chunks, count)


def test_what_a_quota_exceeds_goes_to_the_most_attended_others() -> None:
    attention = torch.tensor([0.5, 0.4, 0.001, 0.003, 0.002, 0.001])
    prompt = VisionPrompt(Readings(attention[None].repeat(2, 1), torch.rand(2, 6, 2), torch.rand(6, 2)), torch.eye(6))
    assert within_quotas(prompt.states, attention, 3, 4).nonzero()[:, 0].tolist() == [0, 1]
    assert HoloV(chunks=3).choose(prompt, 4).tolist() == [0, 1, 3, 4]


def test_the_number_of_stretches_may_follow_the_share_that_is_kept() -> None:
    prompt = random_prompt(64)
    assert torch.equal(HoloV(chunks=0).choose(prompt, 16), HoloV(chunks=7).choose(prompt, 16))
    with pytest.raises(PlanError, match="chunks is a number of stretches; got -1"):
        HoloV(chunks=-1)
