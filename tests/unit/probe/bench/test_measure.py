"""Meters and alternation: what is timed, what is counted, and that a measured model is left unchanged."""

import time
from collections.abc import Iterator

import pytest
import torch
from transformers import DynamicCache

from halfv_core import Freeze, Keep, Plan, apply
from halfv_core.families import parts_of
from halfv_core.runtime.prefill_state import PrefillState
from probe.bench.inputs import IMAGE_MAKERS, synthetic_inputs
from probe.bench.measure import interleaved, planned_request, request, selection
from probe.bench.meters import PeakMemory, cache_bytes
from probe.common.stopwatch import CLOCKS, Stopwatch
from tests.tiny import tiny_model

PLAN = Plan((Keep(layer=1, keep_ratio=0.5), Freeze(layers=[3, 4])))


def test_rounds_swap_their_order_and_the_first_does_not_count() -> None:
    clock: Iterator[int] = iter(range(100))
    order: list[str] = []

    def turn(name: str) -> int:
        order.append(name)
        return next(clock)

    pairs = interleaved(3, lambda: turn("full"), lambda: turn("plan"))
    assert order == ["plan", "full", "full", "plan", "plan", "full", "full", "plan"]
    assert pairs == [(2, 3), (5, 4), (6, 7)]


def test_a_stopwatch_adds_up_what_runs_inside_it() -> None:
    ticks = iter([10.0, 13.0, 20.0, 24.0])
    watch = Stopwatch(torch.device("cpu"), lambda: next(ticks))
    assert [watch.around(abs)(-5), watch.around(abs)(2)] == [5, 2]
    assert watch.seconds == 7.0


def test_the_cpus_clock_does_not_count_waiting() -> None:
    seconds = {}
    for name, clock in CLOCKS.items():
        watch = Stopwatch(torch.device("cpu"), clock)
        watch.around(time.sleep)(0.1)
        seconds[name] = watch.seconds
    assert seconds["wall"] >= 0.1 > 0.05 > seconds["cpu"]


def test_bytes_of_a_cache_by_hand() -> None:
    cache = DynamicCache()
    cache.update(torch.zeros(2, 3, 7, 4), torch.zeros(2, 3, 7, 4), 0)
    cache.update(torch.zeros(2, 3, 5, 4).half(), torch.zeros(2, 3, 5, 4).half(), 1)
    assert cache_bytes(cache) == 2 * (2 * 3 * 7 * 4) * 4 + 2 * (2 * 3 * 5 * 4) * 2


@pytest.mark.parametrize("family", sorted(IMAGE_MAKERS))
@pytest.mark.parametrize("batch", [1, 2])
def test_bytes_of_the_cache_are_those_of_the_arithmetic(family: str, batch: int) -> None:
    model = tiny_model(family)
    inputs = synthetic_inputs(model, visual_tokens=16, text_tokens=8, batch=batch)
    found, cost = planned_request(model, PLAN, inputs, new_tokens=3)
    assert found.kv_bytes == cost.kv_bytes < cost.kv_bytes_full == request(model, inputs, new_tokens=3).kv_bytes


def test_a_request_times_its_parts_and_gives_the_tokens_of_generate(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("qwen2_5_vl")
    inputs = synthetic_inputs(model, visual_tokens=16, text_tokens=8)
    fed: list[int] = []
    forward = model.forward

    def listening(**kwargs: torch.Tensor) -> object:
        if "pixel_values" not in kwargs:
            fed.append(int(kwargs["input_ids"]))
        return forward(**kwargs)

    with apply(model, PLAN):
        answer = model.generate(**inputs, max_new_tokens=4, do_sample=False)[0, -4:].tolist()
        monkeypatch.setattr(model, "forward", listening)
        found = request(model, inputs, new_tokens=4)
    assert fed == answer
    assert 0 < found.vision_seconds < found.first_token_seconds - found.prefill_seconds
    assert found.prefill_seconds > 0 and found.decode_seconds > 0


def test_selection_is_the_pruning_alone_and_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llava")
    parts, prune = parts_of(model), PrefillState._prune
    inputs = synthetic_inputs(model, visual_tokens=16)
    plain = PrefillState.enter_layer

    def slowly(*args: object) -> object:
        time.sleep(0.01)  # in every layer, not in the pruning
        return plain(*args)

    monkeypatch.setattr(PrefillState, "enter_layer", slowly)
    found = selection(model, PLAN, inputs)
    assert 0 < found.share < 0.5 and found.seconds / found.share > 0.05
    request(model, inputs, new_tokens=1)
    assert PrefillState._prune is prune
    assert not {"forward", "get_image_features"} & (parts.core.__dict__.keys() | parts.decoder.__dict__.keys())


def test_peak_memory_sees_what_is_gone_again() -> None:
    memory = PeakMemory(torch.device("cpu"))
    before = memory.above_baseline()
    if before is None:
        pytest.skip("this machine does not tell")
    torch.ones(64 * 2**20).sum()
    after = memory.above_baseline()
    assert after is not None and 2**28 * 0.99 < after < 2**28 * 1.2
    assert PeakMemory(torch.device("meta")).above_baseline() is None
