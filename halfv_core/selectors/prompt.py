"""Prompt: what a selector may know of one prompt, computed when it is asked for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import torch

At = Literal["own", "previous"]
"""The layer at whose input a Keep prunes, with that input; or the layer before it, with its own input."""


class Prompt(Protocol):
    """The n tokens of one prompt that are still in the decoder, in the order of their positions and without padding.

    V of them are visual. Token indices count these n tokens, 0..n-1. H query heads share H_kv key heads.
    """

    @property
    def visual(self) -> "torch.Tensor":
        """(V,) ascending token indices of the visual tokens."""

    @property
    def question(self) -> "torch.Tensor":
        """(t,) ascending token indices of the text behind the last visual token; the last one predicts the answer."""

    def question_ids(self) -> "torch.Tensor":
        """(t,) token ids of `question`."""

    @property
    def text(self) -> "torch.Tensor":
        """(n - V,) ascending token indices of all text tokens."""

    @property
    def device(self) -> "torch.device":
        """Device of the hidden states."""

    @property
    def grids(self) -> Sequence[tuple[int, int, int]]:
        """(frames, height, width) in visual tokens of each image or video, in the order of their tokens.

        Raises:
            UnsupportedError: tokens have been pruned before, or the family's tokens do not form a grid.
        """

    def hidden(self, of: Literal["own", "previous", "input"] = "own") -> "torch.Tensor":
        """(n, D) hidden states in the model's dtype: what enters the own layer, the one before it, or layer 0."""

    def normed_hidden(self) -> "torch.Tensor":
        """(n, D) float32: the input of the Keep's own layer after the model's final norm."""

    def next_token(self, of: At = "own") -> "torch.Tensor":
        """() id of the likeliest next token by the logit lens: final norm and LM head on the last token there."""

    def queries(self, tokens: "torch.Tensor", at: At = "previous", *, rope: bool = True) -> "torch.Tensor":
        """(H, q, d) float32 queries of the q tokens with these indices, rotated to their positions if `rope`."""

    def keys(self, at: At = "previous", *, rope: bool = True) -> "torch.Tensor":
        """(H_kv, n, d) float32 keys of all tokens, rotated to their positions if `rope`."""

    def values(self, at: At = "previous") -> "torch.Tensor":
        """(H_kv, n, d) float32 values of all tokens."""

    def attention(self, tokens: "torch.Tensor", at: At = "previous") -> "torch.Tensor":
        """(H, q, n) float32: softmax attention of the q tokens with these indices to all tokens that they see."""

    def attention_logits(self, tokens: "torch.Tensor", at: At = "previous") -> "torch.Tensor":
        """(H, q, n) float32: the same before the softmax, scaled; -inf at what a token does not see."""

    def rotary(self) -> "tuple[torch.Tensor, torch.Tensor]":
        """Rotary cosines and sines at the tokens' positions, (n, d) each."""

    def transitions(self) -> "torch.Tensor":
        """(layers, 2, n) float32: TransPrune's weight of each token in each sub-layer (attention, MLP) so far.

        One entry for each layer before the Keep's own, from the first layer that the selector asked to be observed.
        """

    def vision(self) -> "VisionReadings":
        """What the vision tower saw at the V visual tokens.

        Raises:
            UnsupportedError: the family's tokens do not correspond to patches of its tower in a way that is known.
        """


class VisionReadings(Protocol):
    """What the vision tower computed for the visual tokens of one prompt, in the order of these tokens.

    Where a token is made of several patches, as in the Qwen families, a number of the token is the mean over them, and
    its features are theirs one after another. A token that stands for no patch, as the newline of LLaVA-NeXT, gets no
    attention, and its keys and features are zeros. Layers of the tower may be counted from its end; they are those
    that the selector or merge names in its `tower_layers`.
    """

    @property
    def has_cls(self) -> bool:
        """Whether the tower has a CLS token."""

    def attention(self, layer: int, *, whole: bool = False) -> "torch.Tensor":
        """(V,) float32: attention of the CLS token to each token in a layer, mean over heads.

        `column_mean` of the layer, where the tower has no CLS token. `whole` takes the queries and keys of all heads
        for one head's, as PruMerge does.
        """

    def column_mean(self, layer: int, *, whole: bool = False) -> "torch.Tensor":
        """(V,) float32: attention that each token gets in a layer, mean over heads and queries, CLS included.

        The queries are those of all the prompt's images, most of which do not see the token.
        """

    def keys(self, layer: int, *, whole: bool = False) -> "torch.Tensor":
        """(V, d) float32: keys in a layer, not rotated to positions, mean over heads; (V, H d) if `whole`."""

    def features(self) -> "torch.Tensor":
        """(V, D_v): what the projector takes for each token."""

    def project(self, features: "torch.Tensor") -> "torch.Tensor":
        """(k, D_v) -> (k, D): what the projector makes of such features, as it enters the decoder."""
