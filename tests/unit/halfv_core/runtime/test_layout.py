"""TokenLayout against loops over the ids."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from halfv_core.runtime.layout import TokenLayout

rows = st.lists(
    st.lists(st.sampled_from([0, 1, 2, 60, 61]), min_size=6, max_size=6), min_size=1, max_size=3
)  # 0 is padding, 60 and 61 are visual


@given(ids=rows)
def test_layout_equals_the_obvious_loops(ids: list[list[int]]) -> None:
    tensor = torch.tensor(ids)
    layout = TokenLayout.find(tensor, (60, 61), (tensor != 0).int())
    for row, tokens in enumerate(ids):
        last = max((index for index, token in enumerate(tokens) if token), default=-1)
        assert layout.visual[row].tolist() == [token >= 60 for token in tokens]
        assert layout.text[row].tolist() == [0 < token < 60 for token in tokens]
        assert int(layout.last[row]) == last
        assert layout.prunable[row].tolist() == [token >= 60 and index != last for index, token in enumerate(tokens)]
    assert layout.has_visual == any(token >= 60 for tokens in ids for token in tokens)


def test_without_a_mask_every_token_is_real() -> None:
    layout = TokenLayout.find(torch.tensor([[0, 60, 0]]), (60,))
    assert layout.real.all()
    assert layout.last.tolist() == [2]
