"""Commands that run no model, and shell completion, import neither torch nor transformers, so they start quickly."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import profiles

HEAVY = ("torch", "transformers", "datasets", "nnsight")

REPORT_IMPORTS = f"""
import sys
from cli.main import main
try:
    main()
finally:
    print("imported:", [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""

COMMANDS = [
    "--help",
    "calibrate --help",
    "models --json",
    "stages --visual curve.csv --text curve.csv --kl kl.csv",
    "export profile.json --format yaml",
    "compare profile.json profile.json",
    "plot profile.json --export csv charts",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile, an entropy curve and a KL curve on disk."""
    root = tmp_path_factory.mktemp("quick")
    profiles.qwen_like().save(root / "profile.json")
    (root / "curve.csv").write_text("value\n9\n5\n4\n3\n2\n2\n2\n2\n2\n")
    (root / "kl.csv").write_text("value\n1\n0.1\n0.1\n0.1\n0.1\n0.1\n0.1\n0.1\n")
    return root


def run(folder: Path, arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `halfv-probe` in its own process, which prints its imports on stderr."""
    return subprocess.run(
        [sys.executable, "-c", REPORT_IMPORTS, *arguments.split()],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("arguments", COMMANDS)
def test_no_model_no_torch(folder: Path, arguments: str) -> None:
    done = run(folder, arguments)
    assert (done.returncode, done.stderr) == (0, "imported: []\n"), done.stderr
    assert done.stdout


def test_completion_is_quick_and_knows_every_option(folder: Path) -> None:
    typed = {"_HALFV_PROBE_COMPLETE": "complete_bash", "COMP_WORDS": "halfv-probe calibrate --t", "COMP_CWORD": "2"}
    done = run(folder, "", **typed)
    assert (done.returncode, done.stderr) == (0, "imported: []\n"), done.stderr
    targets = ["--target-retention", "--target-flops", "--target-kv", "--target-latency"]
    assert done.stdout.split() == ["--top-share", *targets, "--tensor-parallel", "--trust-remote-code"]


def test_completion_can_be_shown(folder: Path) -> None:
    done = run(folder, "--show-completion bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert (done.returncode, done.stderr) == (0, "imported: []\n"), done.stderr
    assert "complete -o default -F _halfv_probe_completion halfv-probe" in done.stdout


def test_a_package_is_light_until_a_model_enters() -> None:
    code = f"""
import sys, halfv_core, probe
assert not [name for name in {HEAVY} if name in sys.modules]
for package in (halfv_core, probe):
    assert set(package.__all__) <= set(dir(package))
from halfv_core import *
assert "torch" in sys.modules
from probe import *
assert all(name in globals() for package in (halfv_core, probe) for name in package.__all__)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
