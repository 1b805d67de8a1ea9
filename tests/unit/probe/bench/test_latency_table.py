"""A latency table predicts the prefills of plans that were not measured."""

from collections.abc import Iterator

import pytest
import torch
from scipy.stats import spearmanr
from transformers import PreTrainedModel

from halfv_core import Freeze, Keep, Plan
from halfv_core.devices import setting_of
from halfv_core.errors import UnsupportedError
from halfv_core.families import parts_of
from halfv_core.latency import LatencyTable, plan_ms, unmeasured
from probe.bench.inputs import synthetic_inputs
from probe.bench.latency_table import fit, measure_latency, plans_to_measure
from probe.bench.measure import prefill_seconds
from probe.common.stopwatch import CLOCKS
from tests.latency_tables import BENDS, COEFFICIENTS, TEXT, VISUAL, known_prefills, known_table, milliseconds
from tests.tiny import LAYERS, text_config, tiny_model, tiny_qwen2_5_vl


def keep(layer: int, ratio: float, selector: str = "anchor_coverage") -> Keep:
    return Keep(layer=layer, keep_ratio=ratio, selector=selector)


def freeze(first: int) -> Freeze:
    return Freeze(layers=range(first, LAYERS))


OTHERS = [
    Plan(items)
    for items in (
        (keep(4, 0.9),),
        (keep(3, 0.6),),
        (keep(3, 0.1, "attention"),),
        (freeze(2),),
        (keep(1, 0.6), keep(2, 0.15), freeze(3)),
        (keep(1, 0.2),),
        (freeze(1),),
        (keep(0, 0.35, "uniform"),),
        (keep(0, 0.35, "uniform"), keep(2, 0.1, "attention"), freeze(3)),
        (keep(0, 0.05, "uniform"), freeze(2)),
    )
]
"""Ten plans, none of which a table is made of."""


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def model() -> PreTrainedModel:
    """Wide enough for its prefills to depend on the plan more than on the interpreter."""
    torch.manual_seed(0)
    return tiny_qwen2_5_vl(text_config("qwen2_5_vl_text") | {"intermediate_size": 2048}).eval()


@pytest.mark.usefixtures("one_thread")
def test_ten_other_plans_take_as_long_as_predicted(model: PreTrainedModel) -> None:
    table = measure_latency(model, visual_tokens=VISUAL, text_tokens=TEXT, rounds=2, clock="cpu")
    inputs = synthetic_inputs(model, visual_tokens=VISUAL, text_tokens=TEXT)
    rounds = [[prefill_seconds(model, plan, inputs, CLOCKS["cpu"]) for plan in OTHERS] for _ in range(3)]
    measured = [min(times) for times in zip(*rounds, strict=True)]
    predicted = [plan_ms(table, plan, VISUAL, TEXT) for plan in OTHERS]
    assert spearmanr(predicted, measured)[0] > 0.9
    assert all(0.5 < guess / (1000 * seconds) < 2 for guess, seconds in zip(predicted, measured, strict=True))


def test_measurements_without_noise_give_the_known_times_of_other_plans() -> None:
    """And each prefill follows from the others, but for the only one of its kind: fewest candidates of one selector."""
    fitted = fit(known_prefills(), LAYERS)
    assert fitted.bends == BENDS and fitted.coefficients.keys() == COEFFICIENTS.keys()
    assert sorted(fitted.errors)[-2] < 1e-6 and max(fitted.errors) < 0.05 and min(fitted.coefficients.values()) >= 0
    table = known_table(coefficients=fitted.coefficients)
    for plan in OTHERS:
        for visual, text in ((VISUAL, TEXT), (400, 50), (90, 20)):
            assert plan_ms(table, plan, visual, text) == pytest.approx(milliseconds(plan, visual, text), rel=1e-6)


def test_one_odd_measurement_counts_as_an_error_of_that_prefill() -> None:
    prefills = list(known_prefills())
    prefills[5] = prefills[5].model_copy(update={"milliseconds": (2 * prefills[5].median_ms,)})
    errors = fit(prefills, LAYERS).errors
    assert max(errors) == errors[5] == pytest.approx(0.5, abs=0.01)


def test_a_clock_that_does_not_tick_is_one_line() -> None:
    prefills = [known_prefills()[0].model_copy(update={"milliseconds": (0.0,)}), *known_prefills()[1:]]
    with pytest.raises(UnsupportedError, match="the clock is too coarse"):
        fit(prefills, LAYERS)


@pytest.mark.parametrize("layers", [2, 3, 28])
@pytest.mark.parametrize("visual", [1, 7, 600])
def test_the_measured_plans_fit_every_decoder(layers: int, visual: int) -> None:
    for plan in plans_to_measure(layers, visual):
        plan.check_depth(layers)


def test_a_decoder_of_one_layer_is_refused() -> None:
    model = tiny_qwen2_5_vl(text_config("qwen2_5_vl_text") | {"num_hidden_layers": 1}).eval()
    with pytest.raises(UnsupportedError, match="two layers or more; got 1 layer"):
        measure_latency(model, visual_tokens=16, text_tokens=8)


@pytest.mark.parametrize("family", ["gemma3", "llava", "qwen2_5_vl", "qwen3_vl"])
def test_a_model_is_measured_and_left_as_it_was(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Families with layers of two kinds, images of one size, images of any size, and features between layers."""
    model = tiny_model(family)
    core = parts_of(model).core
    tower_runs: list[None] = []
    own = core.get_image_features
    monkeypatch.setattr(core, "get_image_features", lambda *args, **kw: tower_runs.append(None) or own(*args, **kw))
    before = core.get_image_features
    calls: list[int] = []
    table = measure_latency(
        model, visual_tokens=16, text_tokens=8, rounds=1, on_progress=lambda _, done, total: calls.append(total - done)
    )
    assert len(tower_runs) == 2, "once for each of the two prompts"
    assert core.get_image_features == before
    assert table.setting == setting_of(model) and table.layers == LAYERS and table.model_type == family
    assert calls == list(range(2 * len(table.prefills), -1, -1))
    first, second = table.prefills[0], table.prefills[len(table.prefills) // 2]
    assert first.plan == second.plan == Plan(()) and (first.text_tokens, second.text_tokens) == (8, 16)
    assert unmeasured(table, OTHERS[6], first.visual_tokens, 8) == ()
    table.check(model.config, setting_of(model))
    assert LatencyTable.model_validate_json(table.model_dump_json()) == table
