"""Targets and budgets of a calibration: score, FLOPs, KV cache, prefill time, proof. Real files, on a random model."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from halfv_core import Plan, Profile
from halfv_core.devices import setting_of
from halfv_core.latency import LatencyTable, latency_ratio
from halfv_core.models import load_model
from halfv_core.plan_records import PruningTest
from halfv_core.profile import config_fingerprint
from probe.calibration.choose_plan import NEARLY
from tests.checkpoints import save_checkpoint
from tests.latency_tables import COEFFICIENTS, SETTING, known_table
from tests.unit.probe.calibration.test_calibrate import write_samples

COMMAND = ["calibrate", "--model", "./model", "--data", "data.jsonl", "--max-new-tokens", "2", "--entropy-k", "5"]
COMMAND += ["--keep-ratio", "0.5", "--certify", "0"]

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


def taken_from(profile: Profile) -> PruningTest:
    return next(test for test in profile.pruning_tests if test.plan == profile.plan)


def test_target_retention(ask: Ask, folder: Path) -> None:
    code, printed = ask("--target-retention", "0.3", "--samples", "6")
    assert code == 0, printed
    profile = Profile.load(folder / "p.json")
    taken = taken_from(profile)
    assert taken.retention is not None and taken.retention >= 0.3
    cheaper = [
        test
        for test in profile.pruning_tests
        if test.flops_ratio > NEARLY * taken.flops_ratio and not test.compared_only
    ]
    assert not [test for test in cheaper if test.safe]
    assert [test.safe for test in profile.pruning_tests] == [
        test.retention is not None and test.retention >= 0.3 for test in profile.pruning_tests
    ]
    assert profile.certificate is not None and profile.certificate.target == 0.3
    layers = {keep.layer for test in profile.pruning_tests for keep in test.plan.keeps}
    assert len(layers) > 1, "the search also looks around the detected layer"


@pytest.mark.parametrize(("option", "ratio"), [("--target-flops", "flops_ratio"), ("--target-kv", "kv_ratio")])
def test_a_cost_to_reach(option: str, ratio: str, ask: Ask, folder: Path) -> None:
    code, printed = ask(option, "1.7", "--samples", "6")
    assert code == 0, printed
    profile = Profile.load(folder / "p.json")
    taken = taken_from(profile)
    assert getattr(profile.expected, ratio) == getattr(taken, ratio) >= 1.7
    reached = [test for test in profile.pruning_tests if getattr(test, ratio) >= 1.7 and not test.compared_only]
    assert taken.retention == max(test.retention or 0.0 for test in reached)
    assert "reaches" not in printed


def test_a_prefill_time_to_reach_by_a_table_of_this_machine(ask: Ask, folder: Path) -> None:
    by_tokens = dict.fromkeys(COEFFICIENTS, 0.0) | {"queries": 1.0, "choices by anchor_coverage": 2.0}
    table = latency_table(folder, coefficients=by_tokens)
    table.save(folder / "table.json")
    code, printed = ask("--target-latency", "1.3", "--latency-table", "table.json", "--samples", "6")
    assert code == 0, printed
    profile = Profile.load(folder / "p.json")
    taken, tokens = taken_from(profile), (round(profile.expected.visual_tokens), round(profile.expected.text_tokens))
    for test in profile.pruning_tests:
        assert test.latency_ratio == pytest.approx(latency_ratio(table, test.plan, *tokens))
    assert taken.latency_ratio is not None and taken.latency_ratio >= 1.3
    assert "a prefill" not in printed


def test_a_prefill_time_that_no_plan_reaches_is_reported(ask: Ask, folder: Path) -> None:
    """On so few tokens, what a plan costs by itself is more than what it saves."""
    latency_table(folder).save(folder / "table.json")
    code, printed = ask("--target-latency", "1.3", "--latency-table", "table.json", "--samples", "6")
    assert code == 0, printed
    profile = Profile.load(folder / "p.json")
    assert taken_from(profile).latency_ratio == max(test.latency_ratio or 0.0 for test in profile.pruning_tests) == 1.0
    assert "No plan that was tried reaches a 1.3x shorter prefill; the one taken comes closest." in printed


def latency_table(folder: Path, **changes: Any) -> LatencyTable:
    """A table of known times for the model of the folder."""
    model = load_model(str(folder / "model"), device="cpu").model
    fields = {
        "model_type": model.config.model_type,
        "config_fingerprint": config_fingerprint(model.config),
        "setting": setting_of(model),
    }
    return known_table(**fields | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config_fingerprint": "0" * 64}, "this latency table was measured for another model; got "),
        ({"setting": SETTING}, "this latency table was measured on another machine or in another way; got "),
    ],
)
def test_a_table_of_another_model_or_machine_is_refused(
    changes: dict[str, Any], message: str, ask: Ask, folder: Path
) -> None:
    latency_table(folder, **changes).save(folder / "table.json")
    code, printed = ask("--target-latency", "1.3", "--latency-table", "table.json", "--samples", "6")
    assert code == 2
    assert printed.count("halfv-probe: ") == 1 and f"halfv-probe: {message}" in printed
    assert not (folder / "p.json.unfinished").exists()


def test_strict_ends_with_1_and_one_line_where_nothing_is_proven(
    ask: Ask, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A random model's few answers prove nothing; the plan is the one that changes nothing."""
    code, printed = ask("--strict", "--samples", "6", "--certify", "3")
    assert code == 1
    profile = Profile.load(folder / "p.json")
    assert profile.certificate is not None and profile.certificate.proven_plan is None
    assert profile.plan == Plan(())
    assert printed.count("--strict: ") == 1 and printed.endswith(f"--strict: {profile.certificate.sentence}")


def test_strict_is_content_with_what_is_proven(ask: Ask, folder: Path) -> None:
    code, printed = ask(
        "--strict", "--target-retention", "0.01", "--samples", "10", "--held-out", "0.5", "--certify", "4"
    )
    profile = Profile.load(folder / "p.json")
    assert code == 0, printed
    certificate = profile.certificate
    assert certificate is not None and certificate.samples == 9
    assert profile.plan == certificate.proven_plan and profile.plan.interventions
    assert "is proven" in certificate.sentence and "--strict" not in printed


def test_an_unreachable_target_is_reported(ask: Ask, folder: Path) -> None:
    code, printed = ask("--target-flops", "50", "--samples", "6")
    assert code == 0
    profile = Profile.load(folder / "p.json")
    searched = [test.flops_ratio for test in profile.pruning_tests if not test.compared_only]
    assert profile.expected.flops_ratio == max(searched) > 1.0
    assert "No plan that was tried reaches 50x fewer FLOPs; the one taken comes closest." in printed


def test_a_budget_too_short_for_everything(ask: Ask, folder: Path) -> None:
    code, printed = ask("--budget", "1s", "--samples", "14")
    assert code == 0, printed
    dropped = Profile.load(folder / "p.json").provenance.dropped
    assert "Marginal utility was not measured, so it settles no doubt about where Stage II begins." in dropped
    assert "Plans were not searched for in rounds; those that were predicted to be best were judged." in dropped
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
        (["--target-kv", "1"], "bad --target-kv: "),
        (["--latency-table", "data.jsonl", "--target-latency", "2"], "cannot read latency table data.jsonl ("),
    ],
)
def test_options_that_make_no_sense(ask: Ask, arguments: list[str], message: str) -> None:
    code, errors = ask(*arguments)
    assert code == 2
    assert message in errors
