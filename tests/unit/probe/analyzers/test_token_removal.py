"""FitPrune's schedules against a slow reading of the rule, on attention that the model itself returns."""

from collections.abc import Sequence

import pytest
import torch

from halfv_core.families import FAMILIES, parts_of
from probe.analyzers.token_removal import ALPHAS, removed_shares, token_removal
from tests.tiny import LAYERS, tiny_model, tiny_prompt

ROWS = list[list[float]]


def slow(from_text: ROWS, from_visual: ROWS, alpha: float) -> list[float]:
    """The shares of one schedule, token by token."""
    gone: set[int] = set()
    shares = []
    for rows in zip(from_text, from_visual, strict=True):
        text, visual = (tail(scores, gone, alpha) for scores in rows)
        gone |= text & visual
        shares.append(len(gone) / len(rows[0]))
    return shares


def tail(scores: Sequence[float], gone: set[int], alpha: float) -> set[int]:
    found, mass = set(), 0.0
    for token in sorted(range(len(scores)), key=lambda token: (token not in gone, scores[token])):
        mass += scores[token]
        if mass > alpha * sum(scores):
            break
        found.add(token)
    return found


def test_schedules_follow_the_rule() -> None:
    generator = torch.Generator().manual_seed(0)
    text, visual = (torch.rand(6, 23, generator=generator, dtype=torch.float64) for _ in range(2))
    alphas = (0.0, 0.07, 0.31, 0.5, 0.83)
    found = removed_shares(text, visual, alphas)
    for row, alpha in zip(found.tolist(), alphas, strict=True):
        assert row == pytest.approx(slow(text.tolist(), visual.tolist(), alpha))


@pytest.mark.parametrize("family", sorted(FAMILIES))
@torch.no_grad()
def test_schedules_of_a_prompt(family: str) -> None:
    model, inputs = tiny_model(family, kernel="eager"), tiny_prompt(family)
    attentions = model(**inputs, output_attentions=True).attentions
    visual = torch.isin(inputs["input_ids"][0], torch.tensor(parts_of(model).visual_ids))
    last = int(visual.nonzero()[-1])
    largest = [attention[0].amax(0).double() for attention in attentions]  # (N, N) for each layer
    text = [rows[last + 1 :, visual].sum(0).tolist() for rows in largest]
    own = [rows[visual][:, visual].sum(0).tolist() for rows in largest]
    found = token_removal(model, inputs, (0.2, 0.55))
    assert found.shape == (2, LAYERS)
    for row, alpha in zip(found.tolist(), (0.2, 0.55), strict=True):
        assert row == pytest.approx(slow(text, own, alpha))


def test_the_mildest_schedule_removes_nothing_and_the_most_severe_everything() -> None:
    found = token_removal(tiny_model("llava"), tiny_prompt("llava"))
    assert found.shape == (len(ALPHAS), LAYERS)
    assert bool((found[0] == 0.0).all()) and bool((found[-1] == 1.0).all())
    assert bool((found.diff(dim=1) >= 0.0).all()), "tokens do not come back"
