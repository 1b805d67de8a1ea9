"""The merge `prumerge`: kept tokens take in what is near them, one more token the rest."""

import pytest
import torch

from halfv_core.merges import make_merge
from halfv_core.merges.prumerge import add_nearest
from halfv_core.selectors.prumerge import count_outliers, outliers_and_steps
from tests.peers import peer_cases
from tests.unit.halfv_core.selectors.test_prumerge import attention_of
from tests.vision_readings import random_prompt


@pytest.mark.parametrize("out", ["out_plus", "out_plain"])
@pytest.mark.parametrize("case", peer_cases("prumerge"))
def test_the_states_are_the_peers(case: dict, out: str) -> None:
    attention, expected = attention_of(case), case[out][0]
    outliers = count_outliers(attention)
    kept = outliers_and_steps(attention, outliers, out == "out_plus")
    top = attention.argsort(descending=True)[:outliers]
    chosen = torch.cat([top, kept.index_fill(0, top, False).nonzero()[:, 0]])
    merged = add_nearest(case["hidden_states"][0, 1:], attention, case["k_last_layer"][0, 1:], chosen, 32)
    torch.testing.assert_close(merged, expected)


@pytest.mark.parametrize("of", ["features", "states"])
def test_all_others_are_near_in_a_small_prompt(of: str) -> None:
    prompt = random_prompt(9)
    merged = make_merge("prumerge", {"of": of}).merge(prompt, torch.tensor([5, 8]), 0)
    states = prompt.readings.features() if of == "features" else prompt.states
    weighted = states * prompt.readings.attention(-1)[:, None]
    first, second = (states[token] + weighted.sum(0) - weighted[token] for token in (5, 8))
    expected = torch.stack([first, second, weighted.sum(0) - weighted[5] - weighted[8]])
    torch.testing.assert_close(merged.states, prompt.readings.project(expected) if of == "features" else expected)
    assert merged.chosen.tolist() == [5, 8, 7]  # the last place that is free


def test_it_takes_one_token_more() -> None:
    assert make_merge("prumerge", {}).extra(576, 64) == 1
