"""What is computed again of a vision tower, against slow and obvious references."""

import pytest
import torch
from transformers.vision_utils import get_vision_window_index

from halfv_core.runtime import vision_tower
from halfv_core.runtime.vision_packed import window_order
from halfv_core.runtime.vision_tower import column_sums


@pytest.mark.parametrize("grids", [[(1, 4, 4)], [(1, 5, 7), (3, 2, 9)], [(2, 1, 1), (1, 8, 3), (1, 4, 12)]])
@pytest.mark.parametrize("window", [1, 2, 4, 8])
def test_tokens_are_in_the_order_of_transformers_windows(grids: list[tuple[int, int, int]], window: int) -> None:
    patches = torch.tensor([[frames, 2 * height, 2 * width] for frames, height, width in grids])
    order, _ = get_vision_window_index(patches, spatial_merge_size=2, window_size=window * 2 * 14, patch_size=14)
    assert torch.equal(window_order(grids, window), order)


@pytest.mark.parametrize("block", [1, 40, 2**26])
def test_attention_is_summed_over_the_queries_of_a_segment(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vision_tower, "BLOCK", block)
    generator, lengths = torch.Generator().manual_seed(0), [3, 5, 3, 1, 5]
    queries, keys = torch.randn(2, sum(lengths), 2, 4, generator=generator)
    segment = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    expected = torch.zeros(sum(lengths))
    for head in range(2):
        for query in range(sum(lengths)):
            logits = keys[:, head] @ queries[query, head] / 2.0
            logits[segment != segment[query]] = -torch.inf
            expected += logits.softmax(0) / 2
    torch.testing.assert_close(column_sums(queries, keys, lengths), expected)
