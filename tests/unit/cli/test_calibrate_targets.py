"""Targets and budgets of a calibration: agreement, FLOPs, time. Real files, on a random model."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.main import main
from halfv_core import Profile
from tests.checkpoints import save_checkpoint
from tests.unit.probe.calibration.test_calibrate import write_samples

COMMAND = ["calibrate", "--model", "./model", "--data", "data.jsonl", "--max-new-tokens", "2", "--entropy-k", "5"]

Ask = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("wishes")
    save_checkpoint("llava", root / "model")
    write_samples(root, 14)
    return root


@pytest.fixture
def ask(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Ask:
    """Run `halfv-probe calibrate ...`; return its exit code and output."""
    monkeypatch.chdir(folder)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["halfv-probe", *COMMAND, *arguments, "--output", "p.json"])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0), " ".join("".join(capfd.readouterr()).split())

    return run


def test_target_retention(ask: Ask, folder: Path) -> None:
    code, printed = ask("--target-retention", "0.9", "--samples", "6")
    assert code == 0, printed
    profile = Profile.load(folder / "p.json")
    taken = next(test for test in profile.pruning_tests if test.plan == profile.plan)
    cheaper = [test for test in profile.pruning_tests if test.flops_ratio > taken.flops_ratio]
    assert taken.agreement >= 0.9 or taken == profile.pruning_tests[-1]
    assert not [test for test in cheaper if min(test.agreement, test.held_out_agreement or 0.0) >= 0.9]
    layers = {keep.layer for test in profile.pruning_tests for keep in test.plan.keeps}
    assert len(layers) > 1, "a target also looks around the detected layer"


def test_target_flops(ask: Ask, folder: Path) -> None:
    code, printed = ask("--target-flops", "1.2", "--samples", "6")
    assert code == 0, printed
    profile = Profile.load(folder / "p.json")
    assert profile.expected.flops_ratio >= 1.2
    reached = [test for test in profile.pruning_tests if test.flops_ratio >= 1.2]
    taken = next(test for test in reached if test.plan == profile.plan)
    assert taken.agreement == max(test.agreement for test in reached)


def test_an_unreachable_target_is_reported(ask: Ask, folder: Path) -> None:
    code, printed = ask("--target-flops", "50", "--samples", "6")
    assert code == 0
    profile = Profile.load(folder / "p.json")
    assert profile.expected.flops_ratio == max(
        test.flops_ratio for test in profile.pruning_tests if not test.compared_only
    )
    assert "No plan that was tried reaches 50x fewer FLOPs; the one taken comes closest." in printed


def test_a_budget_too_short_for_everything(ask: Ask, folder: Path) -> None:
    code, printed = ask("--budget", "1s", "--samples", "14")
    assert code == 0, printed
    dropped = Profile.load(folder / "p.json").provenance.dropped
    assert "Marginal utility was not measured, so it settles no doubt about where Stage II begins." in dropped
    assert "Cut short by the budget: Marginal utility was not measured" in printed


def test_release_curve(ask: Ask, folder: Path) -> None:
    code, printed = ask("--release-curve", "--samples", "4")
    assert code == 0, printed
    curves = Profile.load(folder / "p.json").curves
    assert curves.visual_release is not None
    assert curves.visual_release.mean != curves.visual.mean


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "soon"], "bad budget; got 'soon'; expected a time above 0, as in 90s, 5min or 1h30min"),
        (["--target-retention", "1.5"], "bad --target-retention: "),
        (["--target-flops", "0.5"], "bad --target-flops: "),
    ],
)
def test_options_that_make_no_sense(ask: Ask, arguments: list[str], message: str) -> None:
    code, errors = ask(*arguments)
    assert code == 2
    assert message in errors
