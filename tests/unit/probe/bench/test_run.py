"""A whole benchmark of a tiny model: what it records, and how it judges the goals."""

from pathlib import Path

import pytest

from halfv_core import Freeze, Keep, Plan
from halfv_core.errors import DataError
from probe.bench import Benchmark, bench, synthetic_inputs
from probe.bench.goals import judge
from probe.bench.records import Measured, Ratios, Spread
from tests.tiny import tiny_model

PLAN = Plan((Keep(layer=1, keep_ratio=0.5, selector="uniform"), Freeze(layers=[3, 4])))


@pytest.fixture(scope="module")
def benchmark() -> Benchmark:
    model = tiny_model("qwen2_5_vl")
    inputs = synthetic_inputs(model, visual_tokens=48, text_tokens=12)
    return bench(model, PLAN, inputs, rounds=2, new_tokens=2, name="tiny", whole=(10, 1), arguments={"rounds": 2})


def test_counted_flops_are_those_of_the_arithmetic(benchmark: Benchmark) -> None:
    analytic = benchmark.analytic
    assert benchmark.full.executed_flops == analytic.decoder_flops_full
    assert benchmark.accelerated.executed_flops == analytic.decoder_flops  # `uniform` has no FLOPs of its own
    assert 1 < analytic.model_flops_ratio < analytic.decoder_flops_ratio < analytic.visual_flops_ratio
    outside = analytic.outside_flops
    whole = (analytic.decoder_flops_full + outside) / (analytic.decoder_flops + outside)
    assert analytic.model_flops_ratio == pytest.approx(whole)


def test_it_says_what_was_run(benchmark: Benchmark) -> None:
    subject = benchmark.subject
    assert (subject.visual_tokens, subject.text_tokens, subject.batch) == (48, 12, 1)
    assert (subject.layers, subject.whole_layers, subject.vision_layers) == (5, 10, 1)
    assert (subject.plan, benchmark.arguments, subject.kernel) == (PLAN, {"rounds": 2}, "sdpa")
    for spread in (benchmark.full.prefill_seconds, benchmark.ratios.decode, benchmark.selection_share):
        assert len(spread.values) == 2 and spread.lowest <= spread.median <= spread.highest
    pairs = zip(benchmark.full.prefill_seconds.values, benchmark.accelerated.prefill_seconds.values, strict=True)
    assert benchmark.ratios.prefill.values == pytest.approx([full / fast for full, fast in pairs])


def test_a_record_reads_back(benchmark: Benchmark, tmp_path: Path) -> None:
    benchmark.save(tmp_path / "bench.json")
    assert Benchmark.load(tmp_path / "bench.json") == benchmark
    (tmp_path / "half.json").write_text((tmp_path / "bench.json").read_text()[:500])
    for name in ("half.json", "none.json"):
        with pytest.raises(DataError, match="cannot read benchmark"):
            Benchmark.load(tmp_path / name)


def test_goals_by_the_numbers(benchmark: Benchmark) -> None:
    analytic = benchmark.analytic

    def verdicts(prefill: float, decode: list[float], share: float, kv_off: int = 0) -> list[bool]:
        ratios = Ratios(
            prefill=Spread.of([prefill * analytic.decoder_flops_ratio]),
            first_token=Spread.of([1.0]),
            decode=Spread.of(decode),
            peak=None,
        )
        fast: Measured = benchmark.accelerated.model_copy(update={"kv_bytes": analytic.kv_bytes + kv_off})
        goals = judge(benchmark.full, fast, ratios, Spread.of([share]), analytic)
        return [goal.met for goal in goals]

    assert verdicts(0.91, [0.9, 0.99, 1.01, 1.02], 0.019) == [True] * 4
    assert verdicts(0.89, [0.9, 0.95, 0.99, 1.02], 0.021, kv_off=8) == [False] * 4
    assert verdicts(0.91, [1.0], 0.0) == [True] * 4
