"""Truncated matrix entropy (TME), in nats: how many directions the tokens of a layer spread over.

    Z (N x D), columns centred;  G = Z Z^T or Z^T Z, whichever is smaller: both have the same non-zero eigenvalues
    p_i = lambda_i / (lambda_1 + ... + lambda_k), the k largest;  H = -sum p_i ln p_i, from 0 to ln k

HalfV, arXiv 2604.16462. Results are deterministic, float64, and on the CPU, whatever the input's dtype and device.
Small matrices are decomposed in float64; for large ones only the leading eigenvalues are computed, mostly in float32,
and H is accurate to 1e-3 nats (gram_spectra.py). A single token, or identical ones, have spectrum and entropy 0.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import torch

from halfv_core.errors import DataError, HalfVError
from probe.analyzers.gram_spectra import Batch, exact_spectrum, spectra_of, spectrum_of

Variant = Literal["paper", "release"]

_BATCH_BYTES = {"cpu": 2**22}
"""Bytes of float32 tokens that are processed at once: what a CPU cache holds, so large matrices come one by one."""
_ACCELERATOR_BYTES = 2**27
"""The same for any other device; peak memory is a few times this."""


class TokenGroups(NamedTuple):
    """Entropies, (L+1,) in nats, or spectra, (L+1, k), for each group of tokens."""

    visual: torch.Tensor
    text: torch.Tensor
    """All tokens that are not visual."""
    joint: torch.Tensor
    """All tokens."""


def truncated_matrix_entropy(hidden: torch.Tensor, k: int = 50, variant: Variant = "paper") -> torch.Tensor:
    """Entropy of the k leading eigenvalues of the tokens' Gram matrix.

    Args:
        hidden: hidden states, (..., N, D).
        k: number of leading eigenvalues; fewer count where the rank is lower.
        variant: `paper` is the formula above. `release` follows the public code, which first sets the negative entries
            of the Gram matrix to 0; that inflates the entropy of low-rank matrices and is only there for parity.
            There, Z^T Z is taken when N >= D.

    Returns:
        (...), nats.

    Raises:
        DataError: no token, or a value that is NaN or infinite.
        HalfVError: k below 1, an unknown variant, or fewer than two dimensions.
    """
    return entropy(spectrum(hidden, k, variant))


def entropy_curves(hidden: torch.Tensor, visual_mask: torch.Tensor, k: int = 50) -> TokenGroups:
    """TME of the visual tokens, the text tokens and all tokens, layer by layer.

    Args:
        hidden: hidden states, (L+1, N, D); entry i is the input of layer i, entry L the last layer's output.
        visual_mask: (N,) bool, True for visual tokens.

    Returns:
        Three curves, each (L+1,), nats.

    Raises:
        DataError: no visual or no text token, or a value that is NaN or infinite.
        HalfVError: k below 1, or shapes that do not fit.
    """
    return TokenGroups(*map(entropy, spectra(hidden, visual_mask, k)))


def spectra(hidden: torch.Tensor, visual_mask: torch.Tensor, k: int = 50, *, first: int = 0) -> TokenGroups:
    """The spectra behind `entropy_curves`; `entropy` turns each into its curve, so that both need one computation.

    Args:
        hidden: as for `entropy_curves`, or some layers' states; `layers_at_once` says how many are handled together.
        visual_mask: (N,) bool.
        k: number of leading eigenvalues.
        first: the layer of the first states, for error messages.

    Returns:
        Three spectra, each (L+1, k).

    Raises:
        DataError, HalfVError: as `entropy_curves`.
    """
    mask = _checked_mask(hidden, visual_mask)
    rows = []
    for layers in _batches(hidden, k, "layer input", first):
        visual, joint = spectra_of(layers, [mask, torch.ones_like(mask)], k)
        rows.append((visual, spectrum_of(layers.select(~mask), k), joint))
    return TokenGroups(*(torch.cat(column) for column in zip(*rows, strict=True)))


def spectrum(hidden: torch.Tensor, k: int = 50, variant: Variant = "paper") -> torch.Tensor:
    """The k leading eigenvalues of the Gram matrix, normalised to sum 1 (all 0 where there is no spread).

    Args:
        hidden: hidden states, (..., N, D).

    Returns:
        (..., k), descending, padded with zeros.

    Raises:
        DataError, HalfVError: as `truncated_matrix_entropy`.
    """
    if variant not in get_args(Variant):
        raise HalfVError("unknown variant of the entropy", got=repr(variant), expected=" or ".join(get_args(Variant)))
    rows = [
        exact_spectrum(batch, k, clamp_gram=True) if variant == "release" else spectrum_of(batch, k)
        for batch in _batches(hidden, k, "matrix")
    ]
    return torch.cat(rows).reshape(*hidden.shape[:-2], k)


def entropy(spectrum: torch.Tensor) -> torch.Tensor:
    """Shannon entropy of normalised spectra, (..., k) -> (...), nats."""
    return torch.special.entr(spectrum).sum(dim=-1)  # type: ignore[no-any-return]


def effective_rank(entropy: torch.Tensor) -> torch.Tensor:
    """exp(H), the number of equally strong directions that would have this entropy."""
    return entropy.exp()


def layers_at_once(state: torch.Tensor) -> int:
    """How many layers with (N, D) states like this one are handled together."""
    limit = _BATCH_BYTES.get(state.device.type, _ACCELERATOR_BYTES)
    return max(1, limit // (4 * max(1, state.numel())))


def _batches(hidden: torch.Tensor, k: int, name: str, number: int = 0) -> Iterator[Batch]:
    """Split (..., N, D) into batches of matrices, without copying if `hidden` is contiguous."""
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
    together = layers_at_once(matrices[0])
    for first in range(0, len(matrices), together):
        yield Batch(matrices[first : first + together], name, number + first)


def _checked_mask(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    if hidden.ndim != 3 or mask.shape != hidden.shape[1:2] or mask.dtype != torch.bool:
        got = f"hidden {tuple(hidden.shape)} and a mask {tuple(mask.shape)} of {mask.dtype}"
        raise HalfVError("states and mask do not fit", got=got, expected="hidden (L+1, N, D) and a bool mask (N,)")
    visual = int(mask.sum())
    if visual in (0, len(mask)):
        missing = "text" if visual else "visual"
        raise DataError(f"there is no {missing} token", got=f"{len(mask)} tokens", expected="visual and text tokens")
    return mask.to(hidden.device)
