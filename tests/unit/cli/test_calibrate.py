"""`calibrate` and `generate` as a user runs them: real files, one-line errors, and one command in its own process."""

import json
import os
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app, main
from halfv_core import Profile
from probe.calibration.observations import Observations
from tests.checkpoints import save_checkpoint
from tests.unit.probe.calibration.test_calibrate import write_samples

FAST = ["--samples", "4", "--certify", "2", "--max-new-tokens", "2", "--entropy-k", "5"]


def run(*arguments: str, folder: Path) -> Result:
    """Run `halfv-probe ...` in a folder, in this process, without an error."""
    with chdir(folder):
        done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert done.exit_code == 0, (done.exception, done.stderr)
    return done


def run_alone(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `halfv-probe ...` in a folder, in its own process."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3]), "COLUMNS": "200", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "cli.main", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints, data, and a profile of the first checkpoint."""
    root = tmp_path_factory.mktemp("work")
    save_checkpoint("qwen2_5_vl", root / "model")
    save_checkpoint("llava", root / "other")
    write_samples(root)
    done = run("calibrate", "--model", "./model", "--data", "data.jsonl", *FAST, "--report", "report.html", folder=root)
    (root / "said.txt").write_text(done.stdout)
    return root


def test_calibrate_writes_profile_and_report_and_says_what_it_found(folder: Path) -> None:
    profile = Profile.load(folder / "profile.json")
    assert profile.provenance.model_id == "./model"
    assert profile.provenance.arguments_given["samples"] == 4
    assert "seed" not in profile.provenance.arguments_given
    assert profile.provenance.arguments_resolved["seed"] == 0
    printed = (folder / "said.txt").read_text()
    for part in (
        "II aggregation",
        "saturation type",
        profile.saturation.type,
        "prefill FLOPs",
        "profile: profile.json",
    ):
        assert part in printed
    assert "<html" in (folder / "report.html").read_text()
    seen = Observations.of(folder / "profile.json")
    assert seen is not None
    assert len(seen.samples) == len(profile.provenance.sample_ids)
    assert len(profile.provenance.held_out_ids) == 2
    assert [example.id for example in seen.examples] == list(profile.provenance.held_out_ids)


def test_without_examples_no_image_is_kept(folder: Path) -> None:
    few = [*FAST, "--examples", "0", "--output", "[/bare].json"]
    run("calibrate", "--model", "./model", "--data", "data.jsonl", *few, folder=folder)
    seen = Observations.load(folder / "[/bare].observations.json")
    assert (len(seen.samples), seen.examples) == (4, ())


def test_calibrate_prints_the_profile_as_json(folder: Path) -> None:
    done = run(
        "calibrate", "--model", "./model", "--data", "data.jsonl", *FAST, "--output", "j.json", "--json", folder=folder
    )
    assert json.loads(done.stdout) == Profile.load(folder / "j.json").model_dump(mode="json")


def test_calibrate_takes_any_selector_and_its_settings(folder: Path) -> None:
    start = ["calibrate", "--model", "./model", "--data", "data.jsonl", *FAST]
    chosen = ["--selector", "attention", "--option", "scoring=release", "--option", "rope=false"]
    run(*start, *chosen, "--output", "s.json", folder=folder)
    profile = Profile.load(folder / "s.json")
    settings = profile.provenance.arguments_resolved
    assert (settings["selector"], settings["options"]) == ("attention", {"scoring": "release", "rope": False})
    tried = [test.plan.keeps[0] for test in profile.pruning_tests if test.plan.keeps and test.method is None]
    assert ("attention", settings["options"]) in [(keep.selector, keep.options) for keep in tried]


def test_generate_compares_both_runs(folder: Path) -> None:
    arguments = ["generate", "--model", "./model", "--image", "0.png", "--prompt", "w8", "--max-new-tokens", "3"]
    plain = run(*arguments, folder=folder)
    both = run(*arguments, "--profile", "profile.json", "--compare", "--json", folder=folder)
    result = json.loads(both.stdout)
    assert set(result) == {"full", "accelerated"}
    assert result["full"]["answer"] == plain.stdout.strip()
    assert result["full"]["flops_ratio"] == 1.0
    expected = Profile.load(folder / "profile.json").expected
    assert result["accelerated"]["flops_ratio"] >= 1.0
    assert (result["accelerated"]["flops_ratio"] > 1.0) == (expected.flops_ratio > 1.0)


CALIBRATE = ["calibrate", "--model", "./model", "--data", "data.jsonl", *FAST]
GENERATE = ["generate", "--model", "./model", "--image", "0.png", "--prompt", "w8"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*GENERATE[:2], "./other", *GENERATE[3:], "--profile", "profile.json"], "made for another model; got llava"),
        ([*GENERATE, "--profile", "cut.json"], "is not whole JSON"),
        ([*GENERATE, "--profile", "gone.json"], "cannot read profile gone.json: No such file"),
        ([*GENERATE, "--compare"], "--compare has nothing to compare with; add --profile"),
        (["generate", "--model", "./model", "--image", "gone.png", "--prompt", "w8"], "no image at gone.png"),
        (["generate", "--model", "./model", "--image", "data.jsonl", "--prompt", "w8"], "is not an image"),
        (["calibrate", "--model", "./model", "--data", "gone.jsonl"], "cannot read data gone.jsonl: No such file"),
        (["calibrate", "--model", "./model", "--data", "0.png"], "no reader for 0.png; expected JSONL"),
        (["calibrate", "--model", "./model", "--data", "bad.jsonl"], "1 of 1 rows of bad.jsonl cannot be used"),
        (["calibrate", "--model", "./gone", "--data", "data.jsonl"], "no model './gone'"),
        (["calibrate", "--model", "qwen2.5-vl-7b", "--data", "data.jsonl"], "pass its folder: --model /path/to/it"),
        ([*CALIBRATE, "--samples", "0"], "bad --samples: "),
        ([*CALIBRATE, "--selector", "magic"], "unknown selector; got 'magic'"),
        ([*CALIBRATE, "--keep-ratio", "1.5"], "bad --keep-ratio: "),
        ([*CALIBRATE, "--option", "anchor_share"], "bad --option; got 'anchor_share'; expected NAME=VALUE"),
        ([*CALIBRATE, "--option", "colour=1"], "selector 'anchor_coverage' has no option 'colour'"),
        ([*CALIBRATE, "--option", "anchor_share=2"], "anchor_share is a share; got 2"),
        ([*CALIBRATE, "--output", "0.png/p.json"], "cannot write 0.png/p.json"),
        ([*CALIBRATE, "--dtype", "float8"], "unknown dtype; got float8"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_2(
    folder: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "cut.json").write_text((folder / "profile.json").read_text()[:500])
    (folder / "bad.jsonl").write_text('{"image": "gone.png", "question": "w8"}')
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["halfv-probe", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    output, errors = capfd.readouterr()
    assert message in errors
    assert errors.count("\n") == 1
    assert errors.startswith("halfv-probe: ")
    assert output == ""
    assert stopped.value.code == 2


def test_in_a_process_of_its_own(folder: Path) -> None:
    done = run_alone(*GENERATE, "--profile", "profile.json", folder=folder)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.strip()
