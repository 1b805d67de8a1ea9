"""Truncated matrix entropy (TME): how many directions the tokens of a layer spread over, in nats.

    Z (N x D), columns centred;  G = Z Z^T or Z^T Z, whichever is smaller: both have the same non-zero eigenvalues
    p_i = lambda_i / (lambda_1 + ... + lambda_k), the k largest;  H = -sum p_i ln p_i, from 0 to ln k

HalfV, arXiv 2604.16462. Spectra are computed in float64 and one matrix at a time, whatever dtype and number of layers
come in; answers are float64 on the CPU. Identical tokens, or a single one, have no spread: their spectrum and H are 0.

The visual, text and joint Gram matrices are blocks of one, but sharing its product is not worth a second code path. It
saves a fifth of the time at 2500 x 3584 and nothing at 144 x 128 (one CPU core), where eigenvalues dominate.
"""

from typing import Literal, NamedTuple, get_args

import torch

from halfv_core.errors import DataError, HalfVError

Variant = Literal["paper", "release"]


class TokenGroups(NamedTuple):
    """One answer for each group of tokens, layer by layer."""

    visual: torch.Tensor
    """(L+1,) entropies, nats, or (L+1, k) spectra."""
    text: torch.Tensor
    """The same of all tokens that are not visual."""
    joint: torch.Tensor
    """The same of all tokens."""


def truncated_matrix_entropy(hidden: torch.Tensor, k: int = 50, variant: Variant = "paper") -> torch.Tensor:
    """Entropy of the k leading eigenvalues of the tokens' Gram matrix.

    Args:
        hidden: (..., N, D), one row a token.
        k: eigenvalues that count; fewer count where the rank is lower.
        variant: `paper` is the formula. `release` follows the public code, which first sets the negative entries of the
            Gram matrix to 0, element by element; that inflates low-rank entropy and serves only for parity.

    Returns:
        (...), nats.

    Raises:
        DataError: no token, or a value that is NaN or infinite.
        HalfVError: k below 1, an unknown variant, or fewer than two dimensions.
    """
    return entropy(spectrum(hidden, k, variant))


def entropy_curves(hidden: torch.Tensor, visual_mask: torch.Tensor, k: int = 50) -> TokenGroups:
    """TME of the visual, the text and all tokens along depth.

    Args:
        hidden: (L+1, N, D), entry i the input of layer i.
        visual_mask: (N,) bool.

    Returns:
        Three curves of (L+1,), nats.

    Raises:
        DataError: no visual or no text token, or a value that is NaN or infinite.
        HalfVError: k below 1, or shapes that do not fit.
    """
    return TokenGroups(*map(entropy, spectra(hidden, visual_mask, k)))


def spectra(hidden: torch.Tensor, visual_mask: torch.Tensor, k: int = 50) -> TokenGroups:
    """The spectra behind `entropy_curves`; `entropy` of each is the curve, so whoever wants both computes them once.

    Returns:
        Three tensors of (L+1, k).

    Raises:
        DataError, HalfVError: as `entropy_curves`.
    """
    mask = _checked_mask(hidden, visual_mask)
    groups = (mask, ~mask, torch.ones_like(mask))
    rows = [
        [_spectrum(layer[group], k, "paper", f"layer input {i}") for group in groups] for i, layer in _each(hidden, k)
    ]
    return TokenGroups(*(torch.stack(column) for column in zip(*rows, strict=True)))


def spectrum(hidden: torch.Tensor, k: int = 50, variant: Variant = "paper") -> torch.Tensor:
    """The k leading eigenvalues, normalised to sum 1 (or all 0), descending, padded with zeros.

    Args:
        hidden: (..., N, D).

    Returns:
        (..., k).

    Raises:
        DataError, HalfVError: as `truncated_matrix_entropy`.
    """
    if variant not in get_args(Variant):
        raise HalfVError("unknown variant of the entropy", got=repr(variant), expected=" or ".join(get_args(Variant)))
    rows = [_spectrum(tokens, k, variant, f"matrix {i}") for i, tokens in _each(hidden, k)]
    return torch.stack(rows).reshape(*hidden.shape[:-2], k)


def entropy(spectrum: torch.Tensor) -> torch.Tensor:
    """Shannon entropy of spectra (..., k) -> (...), nats."""
    return torch.special.entr(spectrum).sum(dim=-1)  # type: ignore[no-any-return]


def effective_rank(entropy: torch.Tensor) -> torch.Tensor:
    """exp(H): the number of equally strong directions that would have this entropy."""
    return entropy.exp()


def _each(hidden: torch.Tensor, k: int) -> "enumerate[torch.Tensor]":
    """The (N, D) matrices of (..., N, D), numbered; nothing is copied where `hidden` is contiguous."""
    if k < 1:
        raise HalfVError("the entropy needs at least one eigenvalue", got=f"k={k}", expected="k of 1 or more")
    if hidden.ndim < 2:
        raise HalfVError(
            "hidden states need tokens and features", got=f"shape {tuple(hidden.shape)}", expected="(..., N, D)"
        )
    if hidden.numel() == 0:
        raise DataError(
            "there is no token to measure", got=f"shape {tuple(hidden.shape)}", expected="no empty dimension"
        )
    return enumerate(hidden.detach().reshape(-1, *hidden.shape[-2:]))


def _checked_mask(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    if hidden.ndim != 3 or mask.shape != hidden.shape[1:2] or mask.dtype != torch.bool:
        got = f"hidden {tuple(hidden.shape)} and a mask {tuple(mask.shape)} of {mask.dtype}"
        raise HalfVError("states and mask do not fit", got=got, expected="hidden (L+1, N, D) and a bool mask (N,)")
    visual = int(mask.sum())
    if visual in (0, len(mask)):
        missing = "text" if visual else "visual"
        raise DataError(f"there is no {missing} token", got=f"{len(mask)} tokens", expected="visual and text tokens")
    return mask.to(hidden.device)


def _spectrum(tokens: torch.Tensor, k: int, variant: Variant, name: str) -> torch.Tensor:
    """(N, D) -> (k,)."""
    gram = _gram(_exact(tokens, name))  # (min(N, D), min(N, D))
    if variant == "release":
        gram = gram.clamp(min=0)
    top = torch.linalg.eigvalsh(gram).flip(0)[:k].clamp(min=0)  # (min(k, N, D),)
    total = top.sum()
    shares = top / total if total > 0 else top
    return torch.nn.functional.pad(shares, (0, k - len(top))).cpu()


def _exact(tokens: torch.Tensor, name: str) -> torch.Tensor:
    if tokens.device.type == "mps":  # has no float64
        tokens = tokens.cpu()
    if not tokens.isfinite().all():
        got = f"{int(tokens.isnan().sum())} NaN and {int(tokens.isinf().sum())} infinite values in {name}"
        raise DataError("hidden states are not finite", got=got, remedy="load the model in bfloat16 or float32")
    return tokens.double()


def _gram(tokens: torch.Tensor) -> torch.Tensor:
    """The smaller Gram matrix of the centred tokens, up to scale."""
    # Against the first token first: identical tokens then give exact zeros, which the rounded mean would not.
    shifted = tokens - tokens[:1]
    centred = shifted - shifted.mean(0)  # (N, D)
    # Entropy does not depend on scale, and squares of values near 1 neither overflow nor vanish.
    centred = centred / centred.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
    return centred @ centred.T if len(centred) <= centred.shape[1] else centred.T @ centred
