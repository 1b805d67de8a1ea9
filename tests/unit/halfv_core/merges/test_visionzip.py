"""The merge `visionzip`: contextual tokens take in what is pruned."""

import pytest
import torch

from halfv_core.merges import make_merge
from halfv_core.merges.visionzip import VisionZipMerge, add_means
from halfv_core.selectors.visionzip import VisionZip, dominant_then_contextual
from tests.peers import peer_cases
from tests.vision_readings import random_prompt


@pytest.mark.parametrize("case", peer_cases("visionzip"))
def test_the_states_are_the_peers(case: dict) -> None:
    dominant, contextual = case["dominant_num"], case["contextual_num"]
    for row, expected in enumerate(case["out"]):
        cls, states = case["hidden_states"][row, :1], case["hidden_states"][row, 1:]
        chosen = dominant_then_contextual(case["cls_attention"][row].mean(0), dominant, dominant + contextual)
        pruned = torch.ones(len(states), dtype=torch.bool).index_fill(0, chosen, False)
        merged = add_means(states, case["key_metric"][row, 1:], chosen[dominant:], pruned)
        torch.testing.assert_close(torch.cat([cls, states[chosen[:dominant].sort().values], merged]), expected)


@pytest.mark.parametrize("of", ["features", "states"])
def test_anchors_stay_as_they_are(of: str) -> None:
    prompt, selector = random_prompt(30), VisionZip(contextual_share=0.5)
    chosen, anchors = selector.choose(prompt, 9), selector.anchors(9)
    merged = make_merge("visionzip", {"of": of}).merge(prompt, chosen, anchors)
    assert torch.equal(merged.chosen, chosen)
    assert torch.equal(merged.states[:anchors], prompt.states[chosen[:anchors]])
    source = prompt.states if of == "states" else prompt.readings.features()
    keys = torch.nn.functional.normalize(prompt.readings.keys(-2), dim=1)
    targets = chosen[anchors:].tolist()
    gone = [token for token in range(30) if token not in chosen.tolist()]
    closest = {token: targets[int((keys[targets] @ keys[token]).argmax())] for token in gone}
    for place, target in enumerate(targets):
        mine = [token for token in gone if closest[token] == target]
        expected = source[target] + (source[mine].mean(0) if mine else 0.0)
        expected = expected if of == "states" else prompt.readings.project(expected)
        torch.testing.assert_close(merged.states[anchors + place], expected)


def test_without_contextual_tokens_nothing_is_merged() -> None:
    prompt, chosen = random_prompt(6), torch.tensor([4, 1])
    assert torch.equal(VisionZipMerge().merge(prompt, chosen, 2).states, prompt.states[chosen])


def test_equal_tokens_all_go_to_the_first_target() -> None:
    states = torch.ones(5, 3)
    merged = add_means(states, states, torch.tensor([1, 3]), torch.tensor([True, False, True, False, True]))
    assert torch.equal(merged, torch.tensor([[2.0] * 3, [1.0] * 3]))
