"""Slot arithmetic of the plugin for vLLM, against what a list of tokens says."""

import pytest
import torch

from halfv_core.interventions import Keep
from halfv_core.serving.vllm.requests import (
    Chunk,
    Request,
    Span,
    cache_entries,
    cache_entries_of,
    cache_slots,
    layer_places,
    prunable,
    visual_left,
)


def request(computed: int, scheduled: int, prompt: int = 10, visual: tuple[int, ...] = (2, 3, 4, 7)) -> Request:
    """One of ten prompt tokens, four of them visual."""
    return Request("0", 1, computed, scheduled, prompt, torch.tensor(visual, dtype=torch.long))


@pytest.mark.parametrize(
    ("computed", "scheduled", "is_answering", "ends_prompt"),
    [
        (0, 10, False, True),
        (0, 9, False, False),
        (4, 5, False, False),
        (4, 6, False, True),
        (0, 13, False, True),  # after a preemption, with three tokens of the answer
        (10, 1, True, False),
    ],
)
def test_where_a_request_stands(computed: int, scheduled: int, is_answering: bool, ends_prompt: bool) -> None:
    there = request(computed, scheduled)
    assert (there.is_answering, there.ends_prompt) == (is_answering, ends_prompt)


def test_visual_tokens_of_images_with_and_without_text_between_them() -> None:
    mask = torch.tensor([True, False, True])
    assert prunable([(1, 2, None), (5, 3, mask)], 10).tolist() == [1, 2, 5, 7]


def test_the_last_token_of_a_prompt_is_never_pruned() -> None:
    assert prunable([(0, 4, None)], 4).tolist() == [0, 1, 2]
    assert prunable([], 4).tolist() == []


def test_numbers_of_visual_tokens_after_each_keep() -> None:
    keeps = [Keep(layer=1, tokens=50), Keep(layer=3, keep_ratio=0.25), Keep(layer=5, keep_ratio=0.0)]
    assert visual_left(keeps, 100) == [100, 50, 25, 0]
    assert visual_left(keeps, 0) == [0, 0, 0, 0]


@pytest.mark.parametrize(("tokens", "entries"), [(1, 1), (6, 6), (7, 6), (9, 6), (10, 6), (11, 7), (30, 26)])
def test_entries_of_a_prompt_of_ten_tokens_that_loses_four(tokens: int, entries: int) -> None:
    assert cache_entries(tokens, prompt=10, dropped=4) == entries


@pytest.mark.parametrize(
    ("keep_layers", "layers", "apart"),
    [([1], 12, 1), ([6, 16], 32, 2), ([8], 24, 8), ([4, 8], 12, 4), ([0], 6, 6), ([0, 2], 6, 2)],
)
def test_as_many_layers_are_set_apart_as_divide_all_sets(keep_layers: list[int], layers: int, apart: int) -> None:
    places = layer_places(keep_layers, layers)
    assert [number for number, _ in places] == [sum(at <= layer for at in keep_layers) for layer in range(layers)]
    assert [is_apart for _, is_apart in places] == [True] * apart + [False] * (layers - apart)


def test_slots_of_consecutive_tokens() -> None:
    blocks = torch.tensor([[9, 4], [7, 2]])
    spans = [Span(1, 2, 3), Span(0, 0, 1), Span(0, 7, 1)]
    entries = [(1, 2), (1, 3), (1, 4), (0, 0), (0, 7)]
    expected = [int(blocks[row, entry // 4]) * 4 + entry % 4 for row, entry in entries]
    assert cache_slots(*cache_entries_of(spans), blocks, 4).tolist() == expected


def test_runs_of_text_see_the_compact_cache_up_to_their_end() -> None:
    whole = Chunk.start(request(0, 10))
    assert whole.runs(~whole.visual) == [Span(1, 0, 2), Span(1, 5, 2), Span(1, 8, 2)]
    assert whole.runs(whole.visual) == [Span(1, 2, 3), Span(1, 7, 1)]
    pruned = Chunk(whole.request, 0, torch.tensor([0, 1, 3, 5, 6, 8, 9]))
    assert pruned.visual.tolist() == [False, False, True, False, False, False, False]
    assert pruned.runs(~pruned.visual) == [Span(1, 0, 2), Span(1, 3, 4)]


def test_a_part_of_a_prompt_follows_what_is_in_the_cache() -> None:
    part = Chunk.start(request(4, 5))
    assert part.index.tolist() == [4, 5, 6, 7, 8]
    assert part.runs(~part.visual) == [Span(1, 5, 2), Span(1, 8, 1)]


def test_tokens_of_the_answer_are_text() -> None:
    answer = Chunk(request(10, 1), 6, torch.tensor([10]))
    assert not answer.visual.any()
    assert answer.span == Span(1, 6, 1)
