"""The selector `dart` against the paper's own function and a slow reference."""

from typing import Any

import pytest
import torch

from halfv_core.errors import PlanError
from halfv_core.selectors.dart import Dart, dart, key_sizes
from tests.peers import peer_cases
from tests.prompts import random_prompt


@pytest.mark.parametrize("case", peer_cases("dart"))
def test_the_tokens_of_the_papers_code(case: dict[str, Any]) -> None:
    tokens = torch.arange(len(case["hidden_normed"]))
    visual = tokens[case["visual_start"] :][: case["visual"]]
    question = tokens[case["visual_start"] + case["visual"] :]
    budget = case["max_num_trunction"]
    if budget < 0:
        budget = case["visual"] * (1 - case["reduction_ratio"])
    count = 4 + 8 * int(budget // 8)
    chosen = dart(case["hidden_normed"], key_sizes(case["keys"]), visual, question, count, order="set")
    assert visual[chosen].sort().values.tolist() == case["retained"].tolist()


@pytest.mark.parametrize("count", [5, 17, 20, 39])
def test_pivots_take_what_is_least_like_them_one_after_another(count: int) -> None:
    prompt = random_prompt(40, seed=count, question=6)
    sizes = prompt.keys().abs().sum((0, 2))
    pivots = [int(prompt.visual[token]) for token in sizes[prompt.visual].topk(4).indices]
    chosen = set(pivots)
    everyone = sorted(pivots + [int(prompt.question[token]) for token in sizes[prompt.question].topk(4).indices])
    states = prompt.normed_hidden()
    for place, pivot in enumerate(everyone):
        for _ in range((count - 4) // 8 + (place < (count - 4) % 8)):
            rest = [token for token in prompt.visual.tolist() if token not in chosen]
            similarity = torch.cosine_similarity(states[rest], states[pivot][None])
            chosen.add(rest[int(similarity.argmin())])
    assert set(prompt.visual[Dart().choose(prompt, count)].tolist()) == chosen


def test_few_tokens_are_those_with_the_largest_keys() -> None:
    prompt = random_prompt(20)
    largest = prompt.keys().abs().sum((0, 2))[prompt.visual].topk(3).indices
    assert Dart().choose(prompt, 3).tolist() == largest.tolist()


@pytest.mark.parametrize("pivots", [(0, 4), (4, 0), (1, 1)])
def test_other_numbers_of_pivots_and_no_text(pivots: tuple[int, int]) -> None:
    for question in (0, 1, 6):
        prompt = random_prompt(12, question=question)
        for count in range(1, 12):
            chosen = Dart(*pivots).choose(prompt, count)
            assert len(set(chosen.tolist())) == count


def test_no_pivots_are_refused() -> None:
    with pytest.raises(PlanError, match="pivots"):
        Dart(visual_pivots=0, text_pivots=0)
