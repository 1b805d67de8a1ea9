"""Reading attention for selectors: which rows ask, and how much the visual tokens get from them."""

from typing import TYPE_CHECKING, Literal

from halfv_core.selectors.prompt import At, Prompt

if TYPE_CHECKING:
    import torch

Heads = Literal["mean", "max"]
"""How the heads of a layer are joined."""

ROWS_AT_ONCE = 512
"""Query rows whose attention to all tokens is held in memory at a time."""


def question_rows(prompt: Prompt) -> "torch.Tensor":
    """(t,) indices of the text after the last visual token; of the last visual token if there is no such text."""
    return prompt.question if len(prompt.question) else prompt.visual[-1:]


def attention_from(prompt: Prompt, rows: "torch.Tensor", at: At) -> "torch.Tensor":
    """(H, q, V) float32: attention of these q tokens to the visual tokens, after the softmax over all that they see."""
    return prompt.attention(rows, at).index_select(2, prompt.visual)


def last_attention(prompt: Prompt, at: At) -> "torch.Tensor":
    """(V,) float32: attention of the prompt's last token to the visual tokens, mean over heads."""
    return attention_from(prompt, question_rows(prompt)[-1:], at)[:, 0].mean(0)


def attention_received(prompt: Prompt, rows: "torch.Tensor", at: At, heads: Heads) -> "torch.Tensor":
    """(V,) float32: what the visual tokens get from these rows together, of each row the mean or maximum over heads."""
    import torch

    parts = []
    for some in rows.split(ROWS_AT_ONCE):
        attention = attention_from(prompt, some, at)
        parts.append((attention.mean(0) if heads == "mean" else attention.amax(0)).sum(0))
    return torch.stack(parts).sum(0)


def shares(values: "torch.Tensor") -> "torch.Tensor":
    """(..., V) float32, not negative: divided by their sum; zeros if they are all zero."""
    import torch

    return values / values.sum(-1, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)


def best(scores: "torch.Tensor", count: int) -> "torch.Tensor":
    """(V,) -> (count,) indices of the highest scores, by falling score; of equal ones the first (see `highest`)."""
    from halfv_core.selectors.ranking import highest

    return highest(scores[None], count)[0]
