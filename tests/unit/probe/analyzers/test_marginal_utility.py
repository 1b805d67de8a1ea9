"""Trials against one run per plan, the surface by hand, and how a candidate is chosen."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from halfv_core import Freeze, Keep, Plan, apply
from halfv_core.cost import DecoderShape, cost_of, tokens_by_layer
from probe.analyzers.marginal_utility import EPS, UtilitySurface, choose_aggregation_start, grid_plans, utility_surface
from probe.trials.answers import greedy_answer, read_answer
from probe.trials.readings import Readings
from probe.trials.try_plans import Case, try_plans
from tests.tiny import LAYERS, tiny_model, tiny_prompt

SHAPE = DecoderShape(layers=4, hidden=8, query_width=8, kv_width=4, mlp=16, value_bytes=2)


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "qwen3_vl"])
def test_trials_equal_one_run_a_plan(family: str) -> None:
    model, prompts = tiny_model(family), [tiny_prompt(family, seed=seed, images=1 + seed % 2) for seed in range(3)]
    plans = [
        *grid_plans([1, 3], [0.1, 0.5], "anchor_coverage", {}),
        Plan((Keep(layer=2, keep_ratio=0.5), Freeze(layers=[LAYERS - 1]))),
        Plan(()),
    ]
    answers = [greedy_answer(model, inputs, 3) for inputs in prompts]
    full = [read_answer(model, *pair).log_likelihood for pair in zip(prompts, answers, strict=True)]
    cases = [Case(lambda i=i: prompts[i], answers[i], full[i]) for i in range(3)]
    calls: list[int] = []
    trials = try_plans(model, cases, plans, on_case=lambda: calls.append(1))
    for plan, trial in zip(plans, trials, strict=True):
        with apply(model, plan):
            readings = [read_answer(model, *pair) for pair in zip(prompts, answers, strict=True)]
        assert trial.agrees == tuple(reading.agrees for reading in readings)
        assert trial.drops == tuple(a - b.log_likelihood for a, b in zip(full, readings, strict=True))
        assert trial.quality() == (sum(trial.agrees) / 3, sum(trial.drops) / 3)
    assert trials[-1] == Readings((True,) * 3, (0.0,) * 3)
    assert len(calls) == 3
    assert len({trial.drops for trial in trials}) == len(plans)
    assert try_plans(model, [], plans) == (Readings((), ()),) * len(plans)


def test_surface_by_hand() -> None:
    trials = [Readings((True, False), (0.1, 0.3)), Readings((True, True), (0.0, 0.1))]
    surface = utility_surface([2], [0.25, 0.5], trials, SHAPE, visual=8, text=2)
    for column, plan in enumerate(grid_plans([2], [0.25, 0.5], "random", {})):
        cost = cost_of(SHAPE, tokens_by_layer(plan, 4, 8, 2))
        assert surface.saved[0, column] == pytest.approx(1 - cost.prefill_flops / cost.prefill_flops_full)
    assert surface.utility.tolist() == [
        pytest.approx([0.2 / (surface.saved[0, 0] + EPS), 0.05 / (surface.saved[0, 1] + EPS)])
    ]
    assert surface.agreement.tolist() == [[0.5, 1.0]]


def made_up(drops: list[list[float]], saved: float = 0.5) -> UtilitySurface:
    """A surface over layers 1, 2, ... and one keep ratio, with a row of drops per layer, one per sample."""
    values = np.array(drops)[:, None, :]
    layers = tuple(range(1, len(drops) + 1))
    return UtilitySurface(layers, (0.5,), np.full((len(drops), 1), saved), values, np.ones_like(values))


def test_the_clearly_cheapest_candidate_wins() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, size=(3, 40))
    surface = made_up((noise + [[0.5], [0.1], [0.3]]).tolist())
    for preferred in (1, 2, 3):
        assert choose_aggregation_start([1, 2, 3], surface, preferred) == (2, {1: 1.0, 2: 0.0, 3: 1.0})
    assert choose_aggregation_start([1, 3], surface, 1)[0] == 3


def test_of_candidates_that_cannot_be_told_apart_the_preferred_one_stays() -> None:
    noise = np.random.default_rng(1).normal(0, 1.0, size=(2, 40))
    noise[1] += noise[0].mean() - noise[1].mean() - 0.05  # the later one is better by a twentieth of the noise
    for preferred in (1, 2):
        layer, worse = choose_aggregation_start([1, 2], made_up(noise.tolist()), preferred)
        assert layer == preferred
        assert 0.3 < worse[1] < 0.95
        assert choose_aggregation_start([1, 2], made_up([[0.2] * 5, [0.2] * 5]), preferred)[0] == preferred


@given(samples=st.integers(1, 6), data=st.data())
def test_a_layer_that_is_ruled_out_is_never_settled_on(samples: int, data: st.DataObject) -> None:
    row = st.lists(st.floats(-1, 5), min_size=samples, max_size=samples)
    drops = data.draw(st.lists(row, min_size=2, max_size=4))
    candidates = list(range(1, len(drops) + 1))
    preferred = data.draw(st.sampled_from(candidates))
    layer, worse = choose_aggregation_start(candidates, made_up(drops), preferred)
    assert layer in candidates
    assert worse[layer] < 0.95
    assert (layer == preferred) == (worse[preferred] < 0.95)
    assert all(0.0 <= share <= 1.0 for share in worse.values())


def test_a_pruning_that_saves_nothing_does_not_divide_by_nothing() -> None:
    assert np.isfinite(made_up([[0.1], [0.0]], saved=0.0).utility).all()
    assert torch.tensor(made_up([[0.0], [0.0]], saved=0.0).utility).sum() == 0
