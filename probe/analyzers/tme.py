"""Truncated matrix entropy (TME): how many directions the tokens of a layer spread over, in nats.

    Z (N x D), columns centred;  G = Z Z^T or Z^T Z, whichever is smaller: both have the same non-zero eigenvalues
    p_i = lambda_i / (lambda_1 + ... + lambda_k), the k largest;  H = -sum p_i ln p_i, from 0 to ln k

HalfV, arXiv 2604.16462. Spectra are computed in float64 and one matrix at a time, whatever dtype and number of layers
come in; answers are float64 on the CPU. Identical tokens, or a single one, have no spread: their spectrum and H are 0.

The visual, text and joint Gram matrices are blocks of one, but sharing its product is not worth a second code path. It
saves a fifth of the time at 2500 x 3584 and nothing at 144 x 128 (one CPU core), where eigenvalues dominate.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import torch

from halfv_core.errors import DataError, HalfVError
from probe.analyzers.leading_eigenvalues import fits, leading_eigenvalues

Variant = Literal["paper", "release"]

_TOLERANCE = 3e-4
"""Nats; with the rounding of float32, entropies stay within 1e-3 of the exact ones."""
_BATCH_BYTES = 2**30


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
    groups: list[torch.Tensor | slice] = [mask, ~mask, slice(None)]
    rows = [
        [_spectrum(layers[:, group], k, "paper", "layer input", first) for group in groups]
        for first, layers in _batches(hidden, k)
    ]
    return TokenGroups(*(torch.cat(column) for column in zip(*rows, strict=True)))


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
    rows = [_spectrum(matrices, k, variant, "matrix", first) for first, matrices in _batches(hidden, k)]
    return torch.cat(rows).reshape(*hidden.shape[:-2], k)


def entropy(spectrum: torch.Tensor) -> torch.Tensor:
    """Shannon entropy of spectra (..., k) -> (...), nats."""
    return torch.special.entr(spectrum).sum(dim=-1)  # type: ignore[no-any-return]


def effective_rank(entropy: torch.Tensor) -> torch.Tensor:
    """exp(H): the number of equally strong directions that would have this entropy."""
    return entropy.exp()


def uncertainty(values: torch.Tensor, errors: torch.Tensor) -> torch.Tensor:
    """How far the entropy of eigenvalues (..., k) may be off when each may be larger by its error: (...), nats.

    The first two terms of its series, the first with the errors of either sign alone: their effects can cancel. NaN where
    an error is.
    """
    tiny = torch.finfo(values.dtype).tiny
    total = values.sum(-1, keepdim=True).clamp(min=tiny)
    shares, off = values / total, errors / total
    surprise = -(shares + off).clamp(min=tiny).log() - entropy(shares)[..., None]  # slope of H in each share
    first = surprise * off
    second = off**2 / (shares + off).clamp(min=tiny) / 2
    return torch.maximum(first.clamp(min=0).sum(-1), -first.clamp(max=0).sum(-1)) + second.sum(-1)


def _batches(hidden: torch.Tensor, k: int) -> Iterator[tuple[int, torch.Tensor]]:
    """The matrices of (..., N, D) as (B, N, D) after the number of the first; nothing is copied if `hidden` is contiguous.

    A CPU is busy with one matrix, and its memory small; an accelerator wants as many as `_BATCH_BYTES` of float32 hold.
    """
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
    matrices = hidden.detach().reshape(-1, *hidden.shape[-2:])
    together = 1 if hidden.device.type == "cpu" else max(1, _BATCH_BYTES // (4 * matrices[0].numel()))
    return zip(range(0, len(matrices), together), matrices.split(together), strict=True)


def _checked_mask(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    if hidden.ndim != 3 or mask.shape != hidden.shape[1:2] or mask.dtype != torch.bool:
        got = f"hidden {tuple(hidden.shape)} and a mask {tuple(mask.shape)} of {mask.dtype}"
        raise HalfVError("states and mask do not fit", got=got, expected="hidden (L+1, N, D) and a bool mask (N,)")
    visual = int(mask.sum())
    if visual in (0, len(mask)):
        missing = "text" if visual else "visual"
        raise DataError(f"there is no {missing} token", got=f"{len(mask)} tokens", expected="visual and text tokens")
    return mask.to(hidden.device)


def _spectrum(tokens: torch.Tensor, k: int, variant: Variant, name: str, first: int) -> torch.Tensor:
    """(B, N, D) -> (B, k); the first of them is the one called `name` `first`."""
    if variant == "release" or not fits(min(tokens.shape[1:]), k):
        return _exact(tokens, k, variant, name, first)
    values, certain = _fast(tokens, k)
    for i in (~certain).nonzero()[:, 0].tolist():
        values[i] = _exact(tokens[i : i + 1], k, variant, name, first + i)[0]
    return values


def _fast(tokens: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, N, D) -> spectra (B, k), and (B,) whether their entropy is certain; it never is where a value is not finite."""
    centred = _centred(tokens if tokens.dtype == torch.float64 else tokens.float()).float()
    for found in leading_eigenvalues(centred, k):
        certain = uncertainty(*found) <= _TOLERANCE
        if certain.all():
            break
    return _shares(found.values), certain


def _exact(tokens: torch.Tensor, k: int, variant: Variant, name: str, first: int) -> torch.Tensor:
    """(B, N, D) -> (B, k), from every eigenvalue of the smaller Gram matrix."""
    if tokens.device.type == "mps":  # has no float64
        tokens = tokens.cpu()
    if not tokens.isfinite().all():
        i = int(tokens.isfinite().all(-1).all(-1).int().argmin())
        got = f"{int(tokens[i].isnan().sum())} NaN and {int(tokens[i].isinf().sum())} infinite values in {name} {first + i}"
        raise DataError("hidden states are not finite", got=got, remedy="load the model in bfloat16 or float32")
    centred = _centred(tokens.double())
    gram = centred @ centred.mT if centred.shape[1] <= centred.shape[2] else centred.mT @ centred  # (B, n, n)
    if variant == "release":
        gram = gram.clamp(min=0)
    top = torch.linalg.eigvalsh(gram).flip(-1)[:, :k].clamp(min=0)  # (B, min(k, N, D))
    return torch.nn.functional.pad(_shares(top), (0, k - top.shape[1])).cpu()


def _centred(tokens: torch.Tensor) -> torch.Tensor:
    """(B, N, D), columns centred, up to scale."""
    # Against the first token first: identical tokens then give exact zeros, which the rounded mean would not, and a
    # large common offset is gone before anything is rounded.
    centred = tokens - tokens[:, :1]
    centred -= centred.mean(1, keepdim=True)
    # Entropy does not depend on scale, and squares of values near 1 neither overflow nor vanish.
    largest = torch.linalg.vector_norm(centred, float("inf"), dim=(1, 2), keepdim=True)
    centred /= largest.clamp(min=torch.finfo(centred.dtype).tiny)
    return centred


def _shares(values: torch.Tensor) -> torch.Tensor:
    """(..., k) to sum 1, or all 0."""
    return values / values.sum(-1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)
