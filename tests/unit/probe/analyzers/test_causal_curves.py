"""Causal curves: losses and onsets by hand, use kept by a slow reference, and how often a certified onset is wrong."""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfv_core.plan import Freeze, Keep, Plan
from probe.analyzers.causal_curves import (
    CONTROL,
    TREATMENTS,
    Array,
    CausalLosses,
    Onset,
    causal_plans,
    losses_of,
    treatment_plan,
    tried_layers,
)
from tests.isotonic import rising
from tests.populations import most_failures


def losses(table: Array, control: Array) -> CausalLosses:
    """The same losses (layers, samples) under every treatment, from layer 1 on."""
    return CausalLosses(tuple(range(1, len(table) + 1)), 0.05, dict.fromkeys(TREATMENTS, table), control)


@pytest.mark.parametrize(
    ("layers", "tried"),
    [
        (1, ()),
        (2, (1,)),
        (5, (1, 2, 3, 4)),
        (12, tuple(range(1, 12))),
        (13, tuple(range(1, 13))),
        (28, (1, 3, 6, 8, 10, 13, 15, 18, 20, 22, 25, 27)),
        (80, (1, 8, 15, 22, 29, 36, 44, 51, 58, 65, 72, 79)),
    ],
)
def test_layers_at_which_treatments_begin(layers: int, tried: tuple[int, ...]) -> None:
    assert tried_layers(layers) == tried


def test_the_plans_are_the_control_and_each_treatment_from_each_layer_on() -> None:
    def drop(layer: int) -> Plan:
        return Plan((Keep(layer=layer, keep_ratio=0.0, selector="uniform"),))

    def few(layer: int) -> Plan:
        return Plan((Keep(layer=layer, keep_ratio=0.1, selector="attention"),))

    freezes = [Plan((Freeze(layers=range(start, 6)),)) for start in (2, 5)]
    assert causal_plans((2, 5), 6, 0.1) == [drop(0), *freezes, few(2), few(5), drop(2), drop(5)]
    assert treatment_plan("drop", 0, 6, 0.1) == CONTROL


def test_losses_in_closed_form() -> None:
    assert losses_of(np.array([0.0, math.log(2), -3.0, math.log(4), 1e3])).tolist() == [0.0, 0.5, 0.0, 0.75, 1.0]


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=6))
def test_a_loss_is_what_the_probability_of_the_answer_loses(falls: list[float]) -> None:
    """Falls of tokens add up, as their probabilities multiply; more than is there cannot be lost, nor won."""
    probability = math.prod(math.exp(-fall) for fall in falls)
    assert losses_of(np.array(sum(falls))) == pytest.approx(max(0.0, 1.0 - probability))


def test_falls_are_sorted_into_treatments_and_layers() -> None:
    falls = np.arange(7.0)[:, None] * np.array([0.1, 1.0])  # (plans, samples)
    found = CausalLosses.of((2, 5), 0.1, falls)
    assert (found.layers, found.few, list(found.losses)) == ((2, 5), 0.1, ["freeze", "few", "drop"])
    assert found.control.tolist() == [0.0, 0.0]
    for place, table in enumerate(found.losses.values()):
        np.testing.assert_allclose(table, 1 - np.exp(-falls[1 + 2 * place : 3 + 2 * place]))


tables = st.integers(1, 7).flatmap(
    lambda layers: st.integers(1, 5).flatmap(
        lambda samples: st.lists(
            st.lists(st.floats(0, 1), min_size=samples, max_size=samples), min_size=layers + 1, max_size=layers + 1
        )
    )
)


@given(tables)
def test_use_kept_is_what_is_not_lost_of_the_control_and_rises(rows: list[list[float]]) -> None:
    control, table = np.array(rows[0]) + 0.01, np.array(rows[1:])
    kept = losses(table, control).use_kept("few")
    raw = [1 - sum(row) / sum(control.tolist()) for row in table.tolist()]
    np.testing.assert_allclose(kept, rising(raw), atol=1e-9)
    assert (np.diff(kept) >= -1e-12).all() and kept.max() <= 1.0 + 1e-12


def test_where_the_picture_gives_nothing_all_of_it_is_kept() -> None:
    assert losses(np.array([[0.5, 0.2], [0.0, 0.0]]), np.zeros(2)).use_kept("freeze").tolist() == [1.0, 1.0]


@given(tables, st.randoms(use_true_random=False))
def test_resampled_losses_are_those_of_the_samples(rows: list[list[float]], random: Random) -> None:
    table, control = np.array(rows[1:]), np.array(rows[0])
    count = len(control)
    chosen = [random.randrange(count) for _ in range(random.randint(1, 8))]
    found = losses(table, control).resampled(chosen)
    assert found.control.tolist() == [control[index] for index in chosen]
    for name in TREATMENTS:
        assert found.losses[name].tolist() == [[row[index] for index in chosen] for row in table.tolist()]
    assert (found.layers, found.few) == (tuple(range(1, len(table) + 1)), 0.05)


def layer_by_layer(*shares: float, samples: int = 300) -> CausalLosses:
    """From layer 1 on, treatments that lose these shares of what the picture gives, in every sample."""
    control = np.full(samples, 0.8)
    return losses(np.outer(shares, control), control)


@pytest.mark.parametrize(
    ("shares", "onset"),
    [
        ((0.0, 0.0, 0.0), Onset(1, 1)),
        ((0.9, 0.5, 0.0, 0.0), Onset(3, 3)),
        ((0.9, 0.5, 0.0, 0.6, 0.0), Onset(5, 3)),  # harmless at layer 3, but not from there on
        ((0.9, 0.1, 0.1, 0.0), Onset(4, 2)),  # at the level itself, nothing is proven in either direction
        ((0.9, 0.8, 0.7), Onset(None, None)),
        ((0.9, 0.8, 0.1), Onset(None, 3)),
    ],
)
def test_onsets_of_losses_without_chance(shares: tuple[float, ...], onset: Onset) -> None:
    assert layer_by_layer(*shares).onset("few") == onset


def test_an_onset_depends_on_the_level() -> None:
    found = layer_by_layer(0.6, 0.3, 0.15, 0.0)
    assert [found.onset("drop", level).layer for level in (0.2, 0.5, 0.75, 0.9)] == [1, 2, 3, 4]
    assert found.onset("drop", 1.0) == Onset(None, 4)  # that nothing at all is lost cannot be proven


def test_questions_that_do_not_need_the_picture_prove_no_onset() -> None:
    nothing = losses(np.zeros((3, 500)), np.zeros(500))
    assert nothing.onset("freeze") == Onset(None, 1)


def test_each_treatment_has_its_own_onset() -> None:
    control = np.full(300, 0.8)
    tables = {"freeze": np.outer([0.0, 0.0, 0.0], control), "few": np.outer([0.9, 0.0, 0.0], control)}
    found = CausalLosses((3, 6, 9), 0.05, tables | {"drop": np.outer([0.9, 0.9, 0.0], control)}, control)
    assert [found.onset(name).layer for name in TREATMENTS] == [3, 6, 9]


def test_further_layers_lie_between_each_onset_and_the_one_tried_before() -> None:
    control = np.full(300, 0.8)
    found = CausalLosses((1, 4, 8, 11), 0.05, {}, control)
    for onsets, between in (
        ((1, 1, 1), ()),
        ((None, None, None), ()),
        ((4, None, 1), (2, 3)),
        ((11, 11, 11), (9, 10)),
        ((4, 11, 11), (2, 3, 9, 10)),
        ((4, 8, 11), (2, 3, 5, 6, 7, 9, 10)),
    ):
        tables = {
            name: np.outer([0.5 * (onset is None or layer < onset) for layer in found.layers], control)
            for name, onset in zip(TREATMENTS, onsets, strict=True)
        }
        assert found._replace(losses=tables).between() == between


@given(tables, st.data())
def test_layers_tried_in_two_runs_are_joined_in_order(rows: list[list[float]], data: st.DataObject) -> None:
    table, control = np.array(rows[1:]), np.array(rows[0])
    whole = losses(table, control)
    first = data.draw(st.sets(st.sampled_from(whole.layers)))

    def part(layers: set[int]) -> CausalLosses:
        places = [place for place, layer in enumerate(whole.layers) if layer in layers]
        tables = {name: table[places] for name in TREATMENTS}
        return CausalLosses(tuple(whole.layers[place] for place in places), 0.05, tables, control)

    joined = part(first).joined(part(set(whole.layers) - first))
    assert joined.layers == whole.layers
    np.testing.assert_equal(joined.losses, dict(whole.losses))
    assert joined.onset("few") == whole.onset("few")


def drawn_losses(generator: np.random.Generator, samples: int, shares: tuple[float, ...]) -> CausalLosses:
    """Answers of which two in five need the picture; a treatment spoils a share of these altogether."""
    needs = generator.random(samples) < 0.4
    control = np.where(needs, generator.uniform(0.6, 1.0, samples), generator.uniform(0.0, 0.05, samples))
    spoilt = generator.random((len(shares), samples)) < np.array(shares)[:, None]
    return losses(spoilt * control, control)


@pytest.mark.parametrize("samples", [30, 80, 200])
@pytest.mark.parametrize(
    "shares", [(0.6, 0.3, 0.1, 0.02, 0.0), (0.1,) * 5, (0.9, 0.12, 0.0, 0.11, 0.0)], ids=["falls", "flat", "returns"]
)
def test_a_certified_onset_is_seldom_too_early(shares: tuple[float, ...], samples: int) -> None:
    """At the onset and from there on, what is lost of the use is truly less than a tenth."""
    generator, draws = np.random.default_rng(0), 600
    first = max(place for place, share in enumerate(shares, 1) if share >= 0.1) + 1
    onsets = [drawn_losses(generator, samples, shares).onset("freeze").layer for _ in range(draws)]
    assert sum(onset is not None and onset < first for onset in onsets) <= most_failures(draws)


@pytest.mark.parametrize(
    ("lost", "nested", "too_early"),
    [(0.3, True, 0.1), (0.3, False, 0.1), (0.1, True, 0.1), (0.1, False, 0.15)],
    ids=["much", "much, by chance", "what is allowed", "what is allowed, by chance"],
)
def test_an_onset_between_the_layers_tried_first_is_found_and_seldom_too_early(
    lost: float, nested: bool, too_early: float
) -> None:
    """In a decoder of 80 layers, where earlier layers spoil the same answers (nested) or others, by chance."""
    generator, layers, first, draws = np.random.default_rng(3), 80, 49, 300
    shares = np.where(np.arange(layers) >= first, 0.0, lost)[:, None]
    onsets = []
    for _ in range(draws):
        needs = generator.random(200) < 0.4
        control = np.where(needs, generator.uniform(0.6, 1.0, 200), generator.uniform(0.0, 0.05, 200))
        table = (generator.random(200 if nested else (layers, 200)) < shares) * control

        def at(tried: tuple[int, ...], table: Array = table, control: Array = control) -> CausalLosses:
            return CausalLosses(tried, 0.05, dict.fromkeys(TREATMENTS, table[list(tried)]), control)

        found = at(tried_layers(layers))
        onsets.append(found.joined(at(found.between())).onset("few").layer)
    assert onsets.count(first) > 0.8 * draws
    assert sum(onset is not None and onset < first for onset in onsets) <= most_failures(draws, too_early)


def test_refuted_layers_are_seldom_harmless() -> None:
    generator, draws = np.random.default_rng(1), 600
    found = [drawn_losses(generator, 80, (0.5, 0.1, 0.0)).onset("freeze").earliest for _ in range(draws)]
    assert sum(earliest is None or earliest > 2 for earliest in found) <= most_failures(draws)
    assert found.count(2) > 0.8 * draws


def test_with_enough_samples_the_onset_is_found() -> None:
    generator = np.random.default_rng(2)
    onsets = [drawn_losses(generator, 200, (0.6, 0.3, 0.15, 0.01, 0.0)).onset("freeze").layer for _ in range(200)]
    assert onsets.count(4) > 160
