"""The merge `sparsevlm` against a slow reading of density-peak clustering."""

import math

import pytest
import torch

from halfv_core.errors import PlanError
from halfv_core.merges.sparsevlm import SparseVLMMerge, density_peaks
from halfv_core.selectors.sparsevlm import SparseVLM, sparsevlm_scores
from tests.prompts import random_prompt


def slow_density_peaks(states: list[list[float]], clusters: int) -> tuple[list[int], list[list[int]]]:
    """Centres, and the members of each cluster."""
    n, width = len(states), len(states[0])
    distance = [[math.dist(a, b) / math.sqrt(width) for b in states] for a in states]
    density = [math.exp(-sum(d * d for d in sorted(row)[:clusters]) / clusters) for row in distance]
    largest = max(map(max, distance))
    scores = []
    for token in range(n):
        denser = [other for other in range(n) if (density[other], -other) > (density[token], -token)]
        scores.append(density[token] * min((distance[token][other] for other in denser), default=largest))
    centres = sorted(range(n), key=lambda token: (-scores[token], token))[:clusters]
    members: list[list[int]] = [[] for _ in centres]
    for token in range(n):
        own = centres.index(token) if token in centres else None
        nearest = min(range(clusters), key=lambda place: distance[token][centres[place]])
        members[nearest if own is None else own].append(token)
    return centres, members


@pytest.mark.parametrize("seed", range(5))
def test_clusters_are_those_of_the_slow_reading(seed: int) -> None:
    states = torch.randn(23, 4, generator=torch.Generator().manual_seed(seed))
    centres, means = density_peaks(states, 3)
    slow_centres, members = slow_density_peaks(states.double().tolist(), 3)
    assert centres.tolist() == slow_centres
    torch.testing.assert_close(means, torch.stack([states[group].mean(0) for group in members]))


def test_well_separated_groups_become_their_means() -> None:
    noise = 0.01 * torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    groups = torch.eye(3).repeat_interleave(4, 0) * 10 + noise
    _, means = density_peaks(groups, 3)
    expected = groups.view(3, 4, 3).mean(1)
    torch.testing.assert_close(means[means.argmax(1).argsort()], expected)


def test_copies_are_clustered_without_noise() -> None:
    centres, means = density_peaks(torch.ones(7, 3), 2)
    assert len(set(centres.tolist())) == 2
    assert torch.equal(means, torch.ones(2, 3))


@pytest.mark.parametrize("count", [1, 5, 30, 99])
def test_the_best_of_the_pruned_tokens_stay_as_means(count: int) -> None:
    prompt, merge = random_prompt(100), SparseVLMMerge()
    chosen = SparseVLM().choose(prompt, count)
    merged = merge.merge(prompt, chosen, 0)
    extra = (int((100 - count) * 0.3) + 1) // 10 + 1
    assert merge.extra(100, count) == extra <= 100 - count
    assert torch.equal(merged.chosen[:count], chosen)
    assert len(set(merged.chosen.tolist())) == count + extra == len(merged.states)
    assert torch.equal(merged.states[:count], prompt.hidden()[prompt.visual[chosen]])
    order = sparsevlm_scores(prompt, 1).argsort(descending=True)
    candidates = order[count : count + int((100 - count) * 0.3) + 1]
    assert set(merged.chosen[count:].tolist()) <= set(candidates.tolist())
    torch.testing.assert_close(
        merged.states[count:], density_peaks(prompt.hidden()[prompt.visual[candidates]], extra)[1]
    )


def test_a_share_outside_0_to_1_is_refused() -> None:
    with pytest.raises(PlanError, match="share"):
        SparseVLMMerge(share=1.0)
