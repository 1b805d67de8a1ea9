"""`halfv-probe estimate` prints what fits and a command, without loading weights; listing sizes needs no torch."""

import json
import shlex
import subprocess
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.calibrate import calibrate
from cli.main import app
from halfv_core.errors import HalfVError
from halfv_core.models import MODEL_NAMES


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["estimate", *arguments], catch_exceptions=False)
    assert result.exit_code == code
    return result.stdout


def record(*arguments: str, code: int = 0) -> dict[str, Any]:
    return json.loads(run(*arguments, "--json", code=code))  # type: ignore[no-any-return]


@pytest.mark.parametrize("arguments", [[], ["--list", "--json"]])
def test_listing_needs_no_torch(arguments: list[str]) -> None:
    code = (
        "import atexit, sys; from cli.main import app;"
        "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr)); app(['estimate', *sys.argv[1:]])"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "False"
    assert all(name in done.stdout for name in MODEL_NAMES)


def test_a_model_that_fits_on_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.nn.Module.to_empty", lambda *_, **__: pytest.fail("weights"))
    found = record("--model", "qwen2.5-vl-7b", "--gpus", "8x80GB", "--samples", "50", "--tflops", "200")
    assert (found["fits"], found["replicas"], found["gpus_each"], found["low_memory"]) == (True, 8, 1, False)
    assert found["weights_bytes"] == pytest.approx(16.6e9, rel=0.01)
    assert found["passes"] == pytest.approx(50 * found["passes_per_sample"], rel=0.01)
    expected = found["passes"] * found["pass_tflops"] / 200 / 8 / 3600
    assert found["hours"] == pytest.approx(expected, abs=1e-3)
    command = shlex.split(found["command"])
    assert command[:6] == ["torchrun", "--nproc-per-node", "8", "-m", "cli.main", "calibrate"]
    assert command[command.index("--samples") + 1] == "50"


def test_a_model_over_several_gpus_and_one_that_has_to_be_packed() -> None:
    spread = record("--model", "qwen2.5-vl-72b", "--gpus", "8x80GB")
    assert "--device-map balanced" in spread["command"] and spread["hours"] is None
    packed = record("--model", "llava-1.5-13b", "--gpus", "24GB", "--visual-tokens", "576")
    assert packed["command"].startswith("halfv-probe calibrate")
    assert packed["command"].endswith("--load-in 8bit --low-memory")
    assert packed["needed_bytes"] <= 24e9


def test_what_does_not_fit_has_no_command_and_fails() -> None:
    found = record("--model", "qwen2.5-vl-72b", "--gpus", "2x24GB", "--tflops", "200", code=1)
    assert (found["fits"], found["command"], found["hours"]) == (False, None, None)
    assert "no: a replica needs" in run("--model", "qwen2.5-vl-72b", "--gpus", "2x24GB", code=1)


def test_commands_have_options_of_calibrate() -> None:
    command = shlex.split(record("--model", "qwen2.5-vl-7b", "--dtype", "float16", "--low-memory")["command"])
    assert {"--dtype", "--low-memory"} <= set(command)
    assert "low_memory" in calibrate.__annotations__


def test_throughput_in_tokens() -> None:
    found = record("--model", "qwen2.5-vl-7b", "--tokens-per-second", "2600")
    assert found["hours"] == pytest.approx(found["passes"] / 3600, abs=1e-3)
    assert found["assumption"] == "2600 prompt tokens a second a replica"
    assert "at 2600 prompt tokens" in run("--model", "qwen2.5-vl-7b", "--tokens-per-second", "2600")


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--gpus", "many"], "bad --gpus; got 'many'"),
        (["--load-in", "3bit"], "bad --load-in; got 3bit"),
        (["--tflops", "1", "--tokens-per-second", "1"], "two throughputs"),
        (["--dtype", "int3"], "unknown dtype"),
    ],
)
def test_wrong_options_are_one_line(arguments: list[str], said: str) -> None:
    with pytest.raises(HalfVError, match=said):
        run("--model", "qwen2.5-vl-7b", *arguments)
