"""The selector `sparsevlm` against the paper's own functions and a slow reference."""

from typing import Any

import pytest
import torch

from halfv_core.selectors.attended import best
from halfv_core.selectors.sparsevlm import SparseVLM, position_kernel, priority_heads, rated, raters, sparsevlm_scores
from tests.peers import peer_cases
from tests.prompts import random_prompt


@pytest.mark.parametrize("case", peer_cases("sparsevlm"))
def test_raters_scores_and_tokens_of_the_papers_code(case: dict[str, Any]) -> None:
    embeddings, start, visual = case["input_embeddings"][0], case["visual_start"], case["visual"]
    text = embeddings[start + visual :]
    asking = raters(embeddings[start : start + visual], text)
    assert asking.nonzero()[:, 0].tolist() == case["raters"].tolist()
    attention = case["attention"][0, :, -len(text) :, start : start + visual]
    scores = rated(attention, asking)
    torch.testing.assert_close(scores, case["scores"][0])
    mask = case["mask"][0]
    assert best(scores, int(mask.sum())).sort().values.tolist() == mask.nonzero()[:, 0].tolist()
    if "v2_head_selected_attention" in case:
        heads = priority_heads(attention, asking, 14)
        assert torch.equal(case["attention"][0][heads], case["v2_head_selected_attention"][0])


def test_no_word_that_stands_out_means_all_words() -> None:
    assert raters(torch.ones(4, 3), torch.ones(5, 3)).tolist() == [True] * 5


@pytest.mark.parametrize("heads", [None, 2])
def test_only_raters_and_priority_heads_count(heads: int | None) -> None:
    attention = torch.rand(4, 3, 9, generator=torch.Generator().manual_seed(0))
    asking = torch.tensor([True, False, True])
    per_head = [[attention[head, row] for row in (0, 2)] for head in range(4)]
    mass = [float(sum(row.sum() for row in rows)) for rows in per_head]
    chosen = sorted(range(4), key=lambda head: -mass[head])[: heads or 4]
    slow = torch.stack([torch.stack(per_head[head]).mean(0) for head in chosen]).mean(0)
    torch.testing.assert_close(rated(attention, asking, heads), slow)


def test_the_position_kernel_is_the_attention_of_equal_tokens() -> None:
    """Products of rotated vectors of ones: 2 / sqrt(d) times the sum of cosines of the angles between the positions."""
    cosine, sine = random_prompt(10).rotary()
    kernel = position_kernel(cosine, sine)
    angles = torch.arange(17)[:, None] * 10000.0 ** -(torch.arange(0, 8, 2) / 8)
    slow = (angles[:, None] - angles[None]).cos().sum(-1) * 2 / 8**0.5
    torch.testing.assert_close(kernel, slow)


@pytest.mark.parametrize("version", [1, 2])
def test_the_attention_is_that_of_the_question_in_the_previous_layer(version: int) -> None:
    prompt = random_prompt(30, question=9)
    embeddings = prompt.hidden("input")
    asking = raters(embeddings[prompt.visual], embeddings[prompt.question])
    attention = prompt.attention(prompt.question)[..., prompt.visual]
    if version == 2:
        attention = attention / position_kernel(*prompt.rotary())[prompt.question][:, prompt.visual]
    scores = sparsevlm_scores(prompt, version)
    torch.testing.assert_close(scores, rated(attention, asking))
    selector = SparseVLM(version=1) if version == 1 else SparseVLM(version=2)
    assert selector.choose(prompt, 5).tolist() == scores.topk(5).indices.tolist()
