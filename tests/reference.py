"""Slow and obvious versions of what the packages compute fast; the tests compare the two."""

import math

import numpy as np
import torch


def matrix_entropy(hidden: torch.Tensor, k: int = 50, clamp_gram: bool = False) -> float:
    """Truncated matrix entropy of one (N, D) matrix, nats, entry by entry in float64.

    Args:
        clamp_gram: set the negative entries of the smaller Gram matrix to 0, as the public HalfV code does.
    """
    rows = hidden.to(torch.float64).tolist()
    means = [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
    centred = [[value - mean for value, mean in zip(row, means, strict=True)] for row in rows]
    vectors = centred if len(rows) < len(means) else [list(column) for column in zip(*centred, strict=True)]
    gram = [[math.fsum(a * b for a, b in zip(x, y, strict=True)) for y in vectors] for x in vectors]
    if clamp_gram:
        gram = [[max(entry, 0.0) for entry in row] for row in gram]
    top = [max(value, 0.0) for value in sorted(np.linalg.eigvalsh(np.array(gram)).tolist(), reverse=True)[:k]]
    shares = [value / math.fsum(top) for value in top if value > 0.0]
    return -math.fsum(share * math.log(share) for share in shares)


def dense_matrix_entropy(hidden: torch.Tensor, k: int = 50) -> float:
    """The same of matrices too large for that: every eigenvalue of the smaller Gram matrix, by NumPy in float64."""
    tokens = hidden.double().numpy()
    centred = tokens - tokens[0]
    centred = centred - centred.mean(0)
    centred = centred / max(np.abs(centred).max(), np.finfo(np.float64).tiny)
    gram = centred @ centred.T if len(centred) <= centred.shape[1] else centred.T @ centred
    top = np.maximum(np.linalg.eigvalsh(gram)[::-1][:k], 0.0)
    shares = top[top > 0] / top.sum()
    return float(-(shares * np.log(shares)).sum())
