"""What `make bench` ships: records that the code can read, and the table that says what is in them."""

import json

import pytest

from data_samples.studies import calibration_benchmark, entropy_benchmark
from data_samples.studies.benchmarks import (
    COMMAND,
    GPU_COMMAND,
    ON_A_CPU,
    ON_A_GPU,
    benchmarks_table,
    in_short,
    read_records,
)
from data_samples.studies.tables import PAGE, read_table
from halfv_core.models import load_model
from probe import load_samples
from probe.bench import Benchmark

SHIPPED = read_records(ON_A_CPU)
ON_GPU = read_records(ON_A_GPU)
CALIBRATION, ENTROPY = (
    json.loads(module.OUTPUT.read_text(encoding="utf-8"))["results"]
    for module in (calibration_benchmark, entropy_benchmark)
)
MAKEFILE = (PAGE.parents[1] / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("command", "table"),
    [
        (COMMAND, benchmarks_table(SHIPPED)),
        (GPU_COMMAND, benchmarks_table(ON_GPU)),
        (calibration_benchmark.COMMAND, calibration_benchmark.table(CALIBRATION)),
        (entropy_benchmark.COMMAND, entropy_benchmark.table(ENTROPY)),
    ],
)
def test_the_table_in_the_document_is_that_of_the_records(command: str, table: str) -> None:
    assert read_table(command) == table


def test_the_two_ways_of_calibrating_agree_and_sharing_costs_less() -> None:
    found = calibration_benchmark.measure(load_model("tiny-qwen2.5-vl"), load_samples("scenes")[:1])
    assert found["variants"]["KL curve"] == found["layers"] == 12
    for name in ("KL curve", "marginal utility", "causal curves"):
        ways = found["plain_passes"][name]
        assert ways["shared"] < ways["separate"]


def test_the_results_page_says_what_is_in_the_records() -> None:
    text = " ".join((PAGE.parent / "results.md").read_text(encoding="utf-8").split())
    for record in SHIPPED:
        assert in_short(record) in text


def test_every_record_comes_from_a_command_of_the_makefile() -> None:
    for record in SHIPPED:
        model = record.subject.model
        command = next(line for line in MAKEFILE.splitlines() if f"--model {model} " in line)
        assert f"--visual-tokens {record.subject.visual_tokens} " in command
        assert f"--output docs/benchmarks/{model}.json" in command
        assert ("--rounds" in command) == ("rounds" in record.arguments)


@pytest.mark.parametrize(("name", "record"), list(zip(ON_A_GPU, ON_GPU, strict=True)))
def test_every_record_of_a_gpu_comes_from_a_command_of_the_makefile(name: str, record: Benchmark) -> None:
    command = next(line for line in MAKEFILE.splitlines() if line.endswith(f"--output docs/benchmarks/{name}.json"))
    assert f"--model {record.subject.model} " in command
    assert f"--visual-tokens {record.arguments['visual_tokens']} " in command
    assert f"--batch {record.subject.batch} " in command or record.subject.batch == 1
    assert record.machine.accelerator
    assert record.subject.layers == record.subject.whole_layers


def test_counted_is_what_arithmetic_says_in_every_record() -> None:
    for record in (*SHIPPED, *ON_GPU):
        analytic = record.analytic
        assert (record.full.kv_bytes, record.accelerated.kv_bytes) == (analytic.kv_bytes_full, analytic.kv_bytes)
        assert record.full.executed_flops == analytic.decoder_flops_full
        selection = record.accelerated.executed_flops / analytic.decoder_flops - 1
        # Distances between all pairs of visual tokens, which grow with the square of their number.
        assert 0 < selection < (0.05 if record.subject.visual_tokens < 5000 else 0.15)
