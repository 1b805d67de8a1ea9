"""Predictions from made-up parts: falls that add up, by hand and by going through all combinations."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.analyzers.causal_curves import Array, CausalLosses
from probe.analyzers.marginal_utility import UtilitySurface
from probe.calibration.search.candidate import RATIOS, Candidate, PriceTable
from probe.calibration.search.predict import MAX_LOSS, Parts, predictions
from tests.candidates import every_candidate, flops_pricing, form_of


def surface_of(drops: Array, ratios: tuple[float, ...]) -> UtilitySurface:
    """A surface from layer 1 on with these drops (layers, ratios, samples)."""
    layers = tuple(range(1, len(drops) + 1))
    return UtilitySurface(layers, ratios, np.zeros(drops.shape[:2]), drops, np.ones_like(drops))


def prices_of(layers: int) -> PriceTable:
    """FLOPs."""
    return PriceTable(form_of(layers), flops_pricing(layers))


def made_up(layers: int = 5, samples: int = 4, seed: int = 0, scale: float = 0.3) -> Parts:
    """Parts at a few layers and shares; some lose too much to be considered."""
    generator = np.random.default_rng(seed)

    def falls() -> Array:
        return generator.normal(scale, scale, samples)

    prunings = {(layer, ratio): falls() for layer in (1, 2, 3) for ratio in (0.05, 0.25, 0.5)}
    treatments = {(name, layer): falls() for name in ("freeze", "few", "drop") for layer in range(1, layers)}
    return Parts(prunings, treatments, generator.uniform(0, 1, samples))


def test_falls_add_up_by_hand() -> None:
    ln2 = math.log(2)
    parts = Parts(
        {(1, 0.5): np.array([ln2, 0.0])},
        {("freeze", 3): np.array([ln2, -ln2]), ("drop", 4): np.array([0.0, ln2])},
        np.array([3.0, 1.0]),
    )
    found = {one.candidate: one.loss for one in predictions(form_of(5), parts, prices_of(5))}
    keep = ((1, 0.5),)
    expected = {
        Candidate(): 0.0,
        Candidate(keep): 3 * 0.5 / 4,
        Candidate(treatment=("freeze", 3)): 3 * 0.5 / 4,
        Candidate(drop=4): 0.5 / 4,
        Candidate(keep, ("freeze", 3)): 3 * 0.75 / 4,
        Candidate(keep, drop=4): (3 * 0.5 + 0.5) / 4,
        Candidate((), ("freeze", 3), 4): 3 * 0.5 / 4,  # gains of one part make up for losses of another
        Candidate(keep, ("freeze", 3), 4): 3 * 0.75 / 4,
    }
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_all_combinations_of_parts_are_predicted_once(seed: int) -> None:
    form, parts, prices = form_of(5), made_up(seed=seed), prices_of(5)
    total = parts.weights.sum()

    def loss(falls: list[Array]) -> float:
        return sum(
            weight * (1 - math.exp(-max(0.0, sum(fall[sample] for fall in falls))))
            for sample, weight in enumerate(parts.weights)
        ) / float(total)

    def pieces(candidate: Candidate) -> list[Array] | None:
        drop = [] if candidate.drop is None else [("drop", candidate.drop)]
        try:
            found = [parts.prunings[keep] for keep in candidate.keeps]
            found += [parts.treatments[part] for part in filter(None, (candidate.treatment, *drop))]
        except KeyError:
            return None
        return None if any(loss([one]) > MAX_LOSS for one in found) else found

    expected = {one: loss(found) for one in every_candidate(form) if (found := pieces(one)) is not None}
    found = predictions(form, parts, prices)
    assert {one.candidate: one.loss for one in found} == pytest.approx(expected)
    assert len(found) == len(expected) > 100
    assert all(one.ratio == prices.ratio(one.candidate) and one.candidate.is_valid(form) for one in found)


def test_parts_that_lose_too_much_alone_are_left_out() -> None:
    harmless, harmful = np.zeros(3), np.full(3, 2.0)
    parts = Parts({(1, 0.5): harmless, (1, 0.25): harmful}, {("freeze", 2): harmful, ("few", 2): harmless}, np.ones(3))
    found = {one.candidate for one in predictions(form_of(4), parts, prices_of(4))}
    keep, few = ((1, 0.5),), ("few", 2)
    assert found == {Candidate(), Candidate(keep), Candidate(treatment=few), Candidate(keep, few)}


def test_without_parts_nothing_but_doing_nothing_is_predicted() -> None:
    parts = Parts.of(form_of(4), None, None, np.ones(3), np.ones(3), range(3))
    (only,) = predictions(form_of(4), parts, prices_of(4))
    assert (only.candidate, only.ratio, only.loss) == (Candidate(), 1.0, 0.0)


def test_samples_count_by_their_weights() -> None:
    parts = Parts({}, {}, np.array([0.5, 1.0, 0.5]))
    assert parts.loss(np.array([[99.0, 0.0, 99.0], [0.0, 99.0, 0.0], [0.0, 0.0, 99.0]])) == pytest.approx(
        [0.5, 0.5, 0.25]
    )


def test_between_measured_shares_falls_are_interpolated_in_the_logarithm() -> None:
    drops = np.array([[[0.8, 2.0], [0.4, 1.0]]])  # at layer 1, keeping 0.1 and 0.4
    tokens = np.array([1.0, 3.0])
    parts = Parts.of(form_of(3), surface_of(drops, (0.1, 0.4)), None, tokens, np.ones(2), range(2))
    at = {ratio: falls.tolist() for (layer, ratio), falls in parts.prunings.items() if layer == 1}
    assert sorted(at) == [ratio for ratio in RATIOS if ratio >= 0.1]  # nothing is known of fewer
    assert at[0.1] == pytest.approx([0.8, 6.0])
    assert at[0.2] == pytest.approx([0.6, 4.5])  # 0.2 is the geometric mean of 0.1 and 0.4
    share = math.log(0.75 / 0.4) / math.log(1 / 0.4)  # keeping all loses nothing
    assert at[0.75] == pytest.approx([(1 - share) * 0.4, (1 - share) * 3.0])


@given(st.lists(st.sampled_from([*RATIOS, 0.07, 0.3, 0.9]), min_size=1, max_size=4, unique=True), st.integers(2, 40))
def test_interpolation_meets_what_was_measured(ratios: list[float], depth: int) -> None:
    measured, layers = tuple(sorted(ratios)), max(1, depth // 3)
    drops = np.random.default_rng(depth).uniform(0, 1, (layers, len(measured), 2))
    parts = Parts.of(form_of(depth), surface_of(drops, measured), None, np.ones(2), np.ones(2), [1])
    for (layer, ratio), falls in parts.prunings.items():
        assert ratio >= measured[0] and 1 <= layer < depth
        row = drops[min(layer, layers) - 1, :, 1]  # later than all measured layers: as bad as the last
        expected = np.interp(math.log(ratio), np.log([*measured, 1.0]), [*row, 0.0])
        assert falls == pytest.approx([expected], abs=1e-9)
    covered = {layer for layer, _ in parts.prunings}
    assert set(range(1, layers + 1)) <= covered or min(measured) > max(RATIOS)


def test_parts_of_the_causal_curves_are_their_falls() -> None:
    falls = np.abs(np.random.default_rng(0).normal(0, 1, (1 + 3 * 2, 5)))
    causes = CausalLosses.of((2, 4), 0.05, falls)
    parts = Parts.of(form_of(6), None, causes, np.ones(5), np.arange(5.0), [3, 0])
    assert parts.prunings == {} and parts.weights.tolist() == [3.0, 0.0]
    keys = list(product(("freeze", "few", "drop"), (2, 4)))
    assert list(parts.treatments) == keys
    for key, row in zip(keys, falls[1:], strict=True):
        np.testing.assert_allclose(parts.treatments[key], row[[3, 0]])


def test_a_certain_loss_stays_finite() -> None:
    causes = CausalLosses.of((1,), 0.05, np.full((4, 2), 1e4))
    parts = Parts.of(form_of(2), None, causes, np.ones(2), np.ones(2), range(2))
    assert all(np.isfinite(falls).all() for falls in parts.treatments.values())
