"""`bench` as a user runs it: tables, record, and one-line errors."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from cli.bench_table import bench_tables
from cli.common import claimed
from cli.main import main
from halfv_core.latency import LatencyTable
from probe.bench import Benchmark
from tests.tiny import tiny_model

FAST = ["--visual-tokens", "16", "--text-tokens", "8", "--rounds", "1", "--new-tokens", "1"]
Bench = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Run `halfv-probe bench ...`; return its exit code."""

    def bench(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["halfv-probe", "bench", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0)

    return bench


@pytest.fixture(scope="module")
def shape(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the config of a tiny model and no weights."""
    folder = tmp_path_factory.mktemp("shape")
    tiny_model("qwen2_5_vl").config.save_pretrained(folder)
    return str(folder)


def test_a_shape_with_random_weights(
    run: Bench, shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "deep" / "bench.json"
    options = ["--random-weights", "--model", shape, "--layers", "4", "--keep", "1=0.5", "--freeze", "2-3"]
    assert run(*options, *FAST, "--dtype", "float32", "--threads", "1", "--output", str(output)) == 0
    found = Benchmark.load(output)
    subject = found.subject
    assert (subject.layers, subject.whole_layers, subject.visual_tokens, subject.dtype) == (4, 5, 16, "float32")
    assert [keep.layer for keep in subject.plan.keeps] == [1] and subject.plan.frozen_layers == {2, 3}
    assert found.arguments["layers"] == 4 and "rounds" in found.arguments and "batch" not in found.arguments
    assert found.machine.threads == 1 and found.machine.cores >= 1
    printed = capsys.readouterr().out
    for words in ("prefill (decoder)", "as in the paper", "KV cache", "4 of 5 decoder layers", "not met", "bench.json"):
        assert words in printed.replace("\n", "")


def test_a_published_method(run: Bench, shape: str, tmp_path: Path) -> None:
    options = ["--random-weights", "--model", shape, *FAST, "--output", str(tmp_path / "bench.json")]
    assert run(*options, "--method", "divprune", "--flops", "1.5", "--dtype", "float32") == 0
    keep = Benchmark.load(tmp_path / "bench.json").subject.plan.keeps[0]
    assert (keep.layer, keep.selector) == (0, "divprune")
    assert run(*options, "--method", "divprune", "--keep", "1=0.5") == 2


def test_the_default_plan_is_the_published_one_at_the_slices_depth(
    run: Bench, shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["--output", str(tmp_path / "b.json")]
    assert run("--random-weights", "--model", shape, "--visual-tokens", "17", *FAST[2:], *output, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == Benchmark.load(tmp_path / "b.json").model_dump(mode="json")
    assert [item["layer"] for item in printed["subject"]["plan"]["interventions"]] == [1, 4]
    assert printed["subject"]["dtype"] == "bfloat16" and printed["subject"]["visual_tokens"] == 16


def test_a_bundled_model_runs_under_its_shipped_profile(
    run: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", "tiny-llava", "--rounds", "1", "--new-tokens", "1"]
    assert run(*options, "--output", str(tmp_path / "b.json")) == 0
    found = Benchmark.load(tmp_path / "b.json")
    assert not found.subject.random_weights and found.subject.plan.frozen_layers
    assert found.full.kv_bytes == found.analytic.kv_bytes_full
    assert "1200 visual tokens were asked for; 196 are nearest" in capsys.readouterr().out


def test_the_tables_fit_80_columns(run: Bench, shape: str, tmp_path: Path) -> None:
    run("--random-weights", "--model", shape, *FAST, "--output", str(tmp_path / "b.json"))
    console = Console(width=80, file=io.StringIO(), record=True)
    for table in bench_tables(Benchmark.load(tmp_path / "b.json")):
        console.print(table)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80 and not any("…" in line for line in lines)


def test_a_latency_table_is_written_instead_of_a_record(
    run: Bench, shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--random-weights", "--model", shape, "--layers", "4", "--dtype", "float32", "--threads", "1"]
    options += ["--visual-tokens", "16", "--text-tokens", "8", "--rounds", "1", "--latency-table", "latency.json"]
    assert run(*options) == 0
    table = LatencyTable.load("latency.json")
    printed = capsys.readouterr().out
    assert (table.layers, table.model, table.most_tokens, table.setting.threads) == (4, shape, 24, 1)
    assert "each predicted from the others" in printed and "latency table: latency.json" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["latency.json"]
    assert run(*options, "--json") == 0
    assert json.loads(capsys.readouterr().out) == LatencyTable.load("latency.json").model_dump(mode="json")


@pytest.mark.parametrize(
    "options, words",
    [
        (["--latency-table", "t.json", "--keep", "1=0.5"], "a latency table is of many plans"),
        (["--latency-table", "t.json", "--batch", "2"], "got --batch, --output; leave them out"),
        (["--latency-table", ".", "--random-weights"], "got --output"),
        (["--random-weights", "--model", "qwen9"], "no model 'qwen9'"),
        (["--random-weights", "--layers", "6"], "cannot be cut to so many layers; got 6; expected 1..5"),
        (["--random-weights", "--keep", "1:0.5"], "bad --keep"),
        (["--random-weights", "--freeze", "4-2"], "bad --freeze"),
        (["--random-weights", "--keep", "5=0.5"], "the plan names a layer that the model does not have; got layer 5"),
        (["--random-weights", "--layers", "3", "--freeze", "3"], "got layer 3; expected 0..2"),
        (["--random-weights", "--text-tokens", "1"], "too little text"),
        (["--random-weights", "--dtype", "int4"], "unknown dtype; got int4"),
        (["--random-weights", "--device", "abacus"], "unknown device; got abacus"),
        (["--random-weights", "--max-memory", "cpu=1GiB"], "made whole on one device; leave out --max-memory"),
        (["--random-weights", "--device-map", "auto"], "made whole on one device; leave out --device-map"),
        (["--random-weights", "--load-in", "4bit"], "made whole on one device; leave out --load-in"),
        (["--random-weights", "--clock", "sun"], "unknown clock; got sun; expected wall or cpu"),
        (["--random-weights", "--profile", "none.json"], "cannot read profile none.json"),
        (["--profile", "p.json", "--keep", "1=0.5"], "two plans were given"),
        (["--layers", "2"], "a checkpoint is run whole"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    run: Bench, shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    model = [] if "--model" in options else ["--model", shape]
    assert run(*model, *options, "--output", str(tmp_path / "b.json")) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("halfv-probe: ") and printed.err.count("\n") == 1
    assert words in printed.err
    assert not (tmp_path / "b.json").exists()


def test_two_runs_into_one_file_are_refused(
    run: Bench, shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "bench.json"
    options = ["--random-weights", "--model", shape, "--keep", "1=0.5", *FAST, "--output", str(output)]
    with claimed(output):
        assert run(*options) == 2
        assert "in use by another run" in capsys.readouterr().err and not output.exists()
    assert [path.name for path in tmp_path.iterdir()] == []
    assert run(*options) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]
