"""PruMerge: outliers of attention and tokens at equal steps."""

import pytest
import torch

from halfv_core.selectors.prumerge import PruMerge, PruMergeAdaptive, count_outliers, outliers_and_steps, steps
from tests.peers import peer_cases
from tests.vision_readings import Readings, VisionPrompt, random_prompt


def attention_of(case: dict) -> torch.Tensor:
    queries, keys = case["q_last_layer"][0], case["k_last_layer"][0]
    return (queries[0] @ keys.T * keys.shape[1] ** -0.5).softmax(0)[1:]


def prompt_of(attention: torch.Tensor) -> VisionPrompt:
    readings = Readings(attention[None], torch.zeros(1, len(attention), 2), torch.zeros(len(attention), 2))
    return VisionPrompt(readings, torch.zeros(len(attention), 2))


@pytest.mark.parametrize("case", peer_cases("prumerge"))
def test_as_many_tokens_stay_as_with_the_peer(case: dict) -> None:
    attention = attention_of(case)
    outliers = count_outliers(attention)
    assert outliers / 576 == case["ratio"]
    assert outliers_and_steps(attention, outliers, True).sum() == case["out_plus"].shape[1] - 1
    assert outliers_and_steps(attention, outliers, False).sum() == case["out_plain"].shape[1] - 1
    assert len(PruMergeAdaptive().choose_any(prompt_of(attention))) == case["out_plus"].shape[1] - 1


def test_outliers_and_steps() -> None:
    attention = torch.zeros(25)
    attention[[4, 11]] = torch.tensor([0.5, 0.3])
    kept = PruMergeAdaptive().choose_any(prompt_of(attention))
    assert kept.tolist() == [0, 4, 8, 11, 12, 16, 20]  # floor(25 / 2) = 12, and a third of it is 4
    assert PruMergeAdaptive(spatial=False).choose_any(prompt_of(attention)).tolist() == [4, 11]
    assert PruMergeAdaptive().choose_any(prompt_of(torch.ones(10))).tolist() == [0, 3, 6]


def test_a_third_of_outliers_keeps_everything_but_the_last() -> None:
    assert steps(30, 10) == range(0, 29, 1) == steps(30, 30)


@pytest.mark.parametrize("count", [1, 4, 5, 20, 60, 99])
def test_a_given_number_holds_what_the_rule_keeps_for_fewer(count: int) -> None:
    prompt = random_prompt(100)
    attention = prompt.readings.attention(-1)
    chosen = set(PruMerge().choose(prompt, count).tolist())
    fitting = [n for n in range(1, count + 1) if n + len(steps(100, n)) <= count]
    if fitting:
        kept = outliers_and_steps(attention, max(fitting), True)
        assert set(kept.nonzero()[:, 0].tolist()) <= chosen
    best = attention.argsort(descending=True)[:count]
    assert set(PruMerge(spatial=False).choose(prompt, count).tolist()) == set(best.tolist())
