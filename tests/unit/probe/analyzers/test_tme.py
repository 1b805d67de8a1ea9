"""Truncated matrix entropy against closed forms, invariances and a slow reference."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from halfv_core.errors import DataError, HalfVError
from probe.analyzers.tme import (
    effective_rank,
    entropy,
    entropy_curves,
    spectra,
    spectrum,
    truncated_matrix_entropy,
)
from tests.reference import matrix_entropy


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(size: int, seed: int = 0) -> torch.Tensor:
    orthogonal: torch.Tensor = torch.linalg.qr(random(size, size, seed=seed)).Q
    return orthogonal


def with_eigenvalues(values: list[float], tokens: int, width: int) -> torch.Tensor:
    """Centred tokens whose Gram matrix has exactly these eigenvalues."""
    columns = torch.linalg.qr(torch.cat([torch.ones(tokens, 1).double(), random(tokens, len(values))], 1)).Q[:, 1:]
    tokens_by_width: torch.Tensor = columns * torch.tensor(values).double().sqrt() @ rotation(width)[: len(values)]
    return tokens_by_width


def close(got: torch.Tensor, wanted: float | list[float] | torch.Tensor, within: float = 1e-9) -> None:
    torch.testing.assert_close(got, torch.as_tensor(wanted, dtype=torch.float64), rtol=0, atol=within)


@pytest.mark.parametrize("tokens", [2, 3, 40, 51, 52, 80])
@pytest.mark.parametrize("width", [80, 200])
def test_orthogonal_tokens_spread_evenly(tokens: int, width: int) -> None:
    close(truncated_matrix_entropy(torch.eye(width)[:tokens]), math.log(min(50, tokens - 1)))


def test_a_simplex_in_few_dimensions_uses_the_other_gram_matrix() -> None:
    cross = torch.cat([torch.eye(6), -torch.eye(6)])  # (12, 6): already centred
    close(truncated_matrix_entropy(cross), math.log(6))


def test_two_clusters_have_one_direction() -> None:
    low, high = random(2, 30)
    close(truncated_matrix_entropy(torch.stack([low] * 7 + [high] * 4)), 0.0)


@pytest.mark.parametrize(("tokens", "width"), [(20, 64), (200, 16)])
def test_known_eigenvalues(tokens: int, width: int) -> None:
    hidden = with_eigenvalues([8.0, 4.0, 2.0, 1.0, 1.0], tokens, width)
    close(spectrum(hidden, k=7), [0.5, 0.25, 0.125, 0.0625, 0.0625, 0, 0])
    close(truncated_matrix_entropy(hidden), 1.875 * math.log(2))
    close(truncated_matrix_entropy(hidden, k=2), math.log(3) - 2 / 3 * math.log(2))
    close(truncated_matrix_entropy(hidden, k=1), 0.0)
    close(effective_rank(truncated_matrix_entropy(hidden)), 2**1.875)


@pytest.mark.parametrize("tokens", [1, 2, 9])
def test_tokens_without_spread_have_entropy_zero(tokens: int) -> None:
    same = (random(1, 12) * 0.1 + 7e3).expand(tokens, -1)
    for variant in ("paper", "release"):
        assert truncated_matrix_entropy(same, variant=variant).item() == 0.0
    assert not spectrum(same, k=3).any()


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(2, 24),
    width=st.integers(1, 24),
    rank=st.integers(1, 24),
    k=st.integers(1, 30),
    seed=st.integers(0, 10**6),
)
def test_equals_the_slow_reference(tokens: int, width: int, rank: int, k: int, seed: int) -> None:
    hidden = random(tokens, rank, seed=seed) @ random(rank, width, seed=seed + 1) + 3 * random(width, seed=seed + 2)
    close(truncated_matrix_entropy(hidden, k), matrix_entropy(hidden, k))
    close(truncated_matrix_entropy(hidden, k, "release"), matrix_entropy(hidden, k, clamp_gram=True))


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(3, 40),
    width=st.integers(2, 40),
    seed=st.integers(0, 10**6),
    scale=st.floats(1e-6, 1e6),
    shift=st.floats(-1e3, 1e3),
)
def test_does_not_see_rotation_order_scale_or_shift(
    tokens: int, width: int, seed: int, scale: float, shift: float
) -> None:
    hidden = random(tokens, width, seed=seed)
    wanted = truncated_matrix_entropy(hidden)
    order = torch.randperm(tokens, generator=torch.Generator().manual_seed(seed))
    moved = (hidden[order] * scale + shift * random(width, seed=seed)) @ rotation(width, seed)
    close(truncated_matrix_entropy(moved), wanted, 1e-6)
    assert 0.0 <= wanted.item() <= math.log(min(50, tokens - 1, width)) + 1e-12


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_extreme_scales_neither_vanish_nor_overflow(scale: float) -> None:
    hidden = random(9, 5)
    close(truncated_matrix_entropy(hidden * scale), truncated_matrix_entropy(hidden))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_is_exact_for_every_input_type(dtype: torch.dtype) -> None:
    hidden = (random(12, 20) + 40).to(dtype)
    found = truncated_matrix_entropy(hidden)
    assert found.dtype == torch.float64
    close(found, matrix_entropy(hidden), 1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("shape", [(12, 20), (450, 600)])
def test_16_bits_give_the_entropy_of_the_same_numbers_in_32(
    dtype: torch.dtype, autocast: bool, shape: tuple[int, int]
) -> None:
    """On both paths, the exact one and that of the leading eigenvalues alone, and inside an autocast."""
    hidden = (random(*shape) @ torch.diag(0.9 ** torch.arange(shape[1])).double() + 40).to(dtype)
    wanted = truncated_matrix_entropy(hidden.float(), k=20)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        found = truncated_matrix_entropy(hidden, k=20)
    close(found, wanted, 0.0)


def test_the_release_takes_the_features_gram_matrix_of_as_many_tokens_as_features() -> None:
    tokens = torch.tensor([[1.0, 1.0, 0.0], [-2.0, 0.0, 0.0], [1.0, -1.0, 0.0]]).double()  # centred
    # Z^T Z = diag(6, 2, 0) has no negative entry; Z Z^T has, and without them it is diag(2, 4, 2).
    close(spectrum(tokens, k=3, variant="release"), [0.75, 0.25, 0.0])
    close(spectrum(tokens, k=3), [0.75, 0.25, 0.0])
    wider = torch.nn.functional.pad(tokens, (0, 1))  # N < D: Z Z^T
    close(spectrum(wider, k=3, variant="release"), [0.5, 0.25, 0.25])
    longer = torch.cat([tokens, torch.zeros(1, 3)])
    close(spectrum(longer, k=3, variant="release"), [0.75, 0.25, 0.0])


def test_leading_dimensions_are_kept_and_gradients_are_not() -> None:
    hidden = random(2, 3, 8, 5).requires_grad_()
    found = truncated_matrix_entropy(hidden)
    assert found.shape == (2, 3) and not found.requires_grad
    assert spectrum(hidden, k=4).shape == (2, 3, 4)
    close(found[1, 2], truncated_matrix_entropy(hidden[1, 2]))


def test_the_release_inflates_low_rank_entropy() -> None:
    """A strong and two weak directions, 576 x 4096: about 0.53 nats by the formula, far more with the clamp."""
    hidden = random(576, 3) * torch.tensor([3.0, 1.0, 0.7]).double() @ random(3, 4096, seed=1)
    paper, release = (truncated_matrix_entropy(hidden, variant=variant).item() for variant in ("paper", "release"))
    assert paper == pytest.approx(0.53, abs=0.03)
    assert release == pytest.approx(1.44, abs=0.03)


def test_curves_are_the_entropies_of_the_groups() -> None:
    hidden = random(4, 30, 12).to(torch.float32)
    mask = torch.arange(30) % 3 > 0
    curves = entropy_curves(hidden, mask, k=6)
    close(curves.visual, truncated_matrix_entropy(hidden[:, mask], 6))
    close(curves.text, truncated_matrix_entropy(hidden[:, ~mask], 6))
    close(curves.joint, truncated_matrix_entropy(hidden, 6))
    close(entropy(spectra(hidden, mask, k=6).visual), curves.visual)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    hidden = random(3, 6, 4)
    hidden[2, 1, 0] = bad
    counts = "1 NaN and 0 infinite" if math.isnan(bad) else "0 NaN and 1 infinite"
    with pytest.raises(DataError, match=f"hidden states are not finite; got {counts} values in matrix 2; load"):
        truncated_matrix_entropy(hidden)
    with pytest.raises(DataError, match="values in layer input 2"):
        entropy_curves(hidden, torch.arange(6) < 3)


def test_wrong_settings_and_shapes_are_refused() -> None:
    hidden = random(2, 6, 4)
    with pytest.raises(HalfVError, match="at least one eigenvalue; got k=0"):
        truncated_matrix_entropy(hidden, k=0)
    with pytest.raises(HalfVError, match="unknown variant of the entropy; got 'old'; expected paper or release"):
        truncated_matrix_entropy(hidden, variant="old")  # type: ignore[arg-type]
    with pytest.raises(HalfVError, match=r"need tokens and features; got shape \(6,\)"):
        truncated_matrix_entropy(hidden[0, :, 0])
    with pytest.raises(DataError, match="no token to measure"):
        truncated_matrix_entropy(hidden[:, :0])
    with pytest.raises(DataError, match="no visual token; got 6 tokens"):
        entropy_curves(hidden, torch.zeros(6, dtype=torch.bool))
    with pytest.raises(DataError, match="no text token"):
        entropy_curves(hidden, torch.ones(6, dtype=torch.bool))
    for mask in (torch.ones(5, dtype=torch.bool), torch.ones(6)):
        with pytest.raises(HalfVError, match="states and mask do not fit"):
            entropy_curves(hidden, mask)
