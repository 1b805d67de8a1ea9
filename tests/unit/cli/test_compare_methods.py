"""`compare-methods` as a user runs it: on a bundled model, with one-line errors, and after kill -9."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.main import main
from halfv_core import Profile
from halfv_core.models import load_model
from probe.evaluation.methods import MethodComparison
from tests.checkpoints import save_checkpoint
from tests.profiles import unsaturated
from tests.unit.cli.test_evaluate import BUNDLED, SHIPPED, lines
from tests.unit.probe.calibration.test_calibrate import write_samples
from tests.unit.probe.evaluation.methods.test_compare import timeless
from tests.unit.probe.evaluation.test_ablation import tiny_profile

TINY = ["--model", "./model", "--data", "data.jsonl", "--max-new-tokens", "2", "--flops", "1.5", "--methods", "random"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint, its profile, the profile of another model, and data."""
    root = tmp_path_factory.mktemp("work")
    save_checkpoint("llava", root / "model")
    tiny_profile(load_model(str(root / "model"), device="cpu").model).save(root / "profile.json")
    unsaturated().save(root / "other.json")
    rows = write_samples(root, 12).read_text().splitlines()
    blank = [json.dumps({name: text for name, text in json.loads(row).items() if name != "answer"}) for row in rows]
    (root / "blank.jsonl").write_text("\n".join(blank))
    return root


def run(*arguments: str, monkeypatch: pytest.MonkeyPatch, folder: Path, command: str = "compare-methods") -> int:
    """Run `halfv-probe ...` in the folder, in this process; return its exit code."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["halfv-probe", command, *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_the_bundled_model_is_compared_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", BUNDLED, "--profile", str(SHIPPED), "--samples", "6", "--batch", "3", "--flops", "2,30"]
    some = [*options, "--methods", "random,uniform", "--output", "out/m.html"]
    assert run(*some, monkeypatch=monkeypatch, folder=tmp_path) == 0
    printed = capfd.readouterr().out
    for words in (
        "\nfull ",
        "\nprofile ",
        "\nrandom 2x ",
        "\nuniform 2x ",
        "not run: random at 30x: ",
        "record: out/m.json",
    ):
        assert words in printed
    assert max(map(len, printed.splitlines())) <= 80 and "…" not in printed
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["m.html", "m.json"]
    found = MethodComparison.load(tmp_path / "out" / "m.json")
    assert found.samples == len(found.questions) == 6 and found.full.accuracy >= 0.7
    assert found.rows[1].plan == Profile.load(SHIPPED).plan
    page = (tmp_path / "out" / "m.html").read_text()
    assert run("out/m.json", "--output", "later.html", monkeypatch=monkeypatch, folder=tmp_path, command="plot") == 0
    assert (tmp_path / "later.html").read_text() == page


def test_methods_are_tuned_on_the_samples_that_a_calibration_draws(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    draw = [
        "--samples",
        "5",
        "--certify",
        "0",
        "--seed",
        "3",
        "--output",
        "c.json",
        "--max-new-tokens",
        "2",
        "--examples",
        "0",
    ]
    calibrate = ["--model", "./model", "--data", "data.jsonl", *draw]
    assert run(*calibrate, monkeypatch=monkeypatch, folder=folder, command="calibrate") == 0
    provenance = Profile.load(folder / "c.json").provenance
    capfd.readouterr()

    tuning = ["--tune-on", "data.jsonl", "--tune-samples", "5", "--tune-seed", "3"]
    options = ["--samples", "12", "--output", "tuned.json", "--more-profiles", "profile.json"]
    assert run(*TINY, *tuning, *options, monkeypatch=monkeypatch, folder=folder) == 0
    printed, found = capfd.readouterr().out, MethodComparison.load(folder / "tuned.json")
    assert found.tuned_on is not None
    assert found.tuned_on.sample_ids == (*provenance.held_out_ids, *provenance.sample_ids)
    assert (found.tuned_on.data, found.tuned_on.seed) == ("data.jsonl", 3)
    assert "tuned on 5 samples of data.jsonl, seed 3" in printed and "\nprofile:profile " in printed
    row = next(row for row in found.rows if row.label == "random 1.5x")
    assert row.chosen is not None and f"{row.chosen.accuracy:.3f}" in printed
    assert "5 of the 5 samples of the tuning are also in the comparison" in printed
    assert not list(folder.glob("tuned.json.*"))


def test_samples_to_tune_on_without_an_answer_are_left_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    answered, blank = (folder / name for name in ("data.jsonl", "blank.jsonl"))
    some = [*answered.read_text().splitlines()[:2], *blank.read_text().splitlines()[2:]]
    (folder / "some.jsonl").write_text("\n".join(some))
    options = ["--tune-on", "some.jsonl", "--samples", "2", "--output", "some-tuned.json"]
    assert run(*TINY, *options, monkeypatch=monkeypatch, folder=folder) == 0
    assert "10 of 12 samples to tune on have no reference answer and are left out" in capfd.readouterr().err
    tuned_on = MethodComparison.load(folder / "some-tuned.json").tuned_on
    assert tuned_on is not None and sorted(tuned_on.sample_ids) == ["s0", "s1"]


def test_json_is_the_record(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--samples", "2", "--output", "j.json", "--json"]
    assert run(*TINY, *options, monkeypatch=monkeypatch, folder=folder) == 0
    assert json.loads(capfd.readouterr().out) == json.loads((folder / "j.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--flops", "2,x"], "bad --flops; got '2,x'; expected numbers above 1 with commas, as in 2,3,4"),
        (["--flops", "2,1"], "a budget is how many times fewer FLOPs; got 1.0; expected numbers above 1"),
        (["--methods", "random,fast"], "unknown method; got 'fast'; expected one of "),
        (["--profile", "gone.json"], "cannot read profile gone.json"),
        (["--profile", "other.json"], "made for another model; got llava"),
        (["--grading", "kind"], "unknown grading; got kind"),
        (["--data", "blank.jsonl"], "no sample has a reference answer; got 12 without"),
        (["--samples", "0"], "at least one sample is needed; got 0"),
        (["--model", "./gone"], "no model './gone'"),
        (["--output", "m.txt"], "bad --output; got m.txt; expected a name that ends in .json or .html"),
        (["--output", "data.jsonl/m.json"], "cannot write data.jsonl/m.json"),
        (["--profile", "profile.json", "--output", "profile.html"], "would overwrite another file of this command"),
        (["--tune-on", "data.jsonl", "--tune-samples", "0"], "at least one sample is needed; got 0"),
        (["--tune-on", "blank.jsonl"], "no sample has a reference answer; got 12 without"),
        (["--tune-on", "gone.jsonl"], "cannot read data gone.jsonl"),
        (["--more-profiles", "gone.json"], "cannot read profile gone.json"),
        (["--more-profiles", "other.json"], "made for another model; got llava"),
        (["--more-profiles", "profile.json", "--more-profiles", "./profile.json"], "got profile twice"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_2(
    folder: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*TINY, *arguments, monkeypatch=monkeypatch, folder=folder) == 2
    output, errors = capfd.readouterr()
    assert message in errors
    assert (output, errors.count("\n")) == ("", 1)
    assert errors.startswith("halfv-probe: ")


def test_records_are_not_exported_like_profiles(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.json").write_text('{"kind": "method comparison"}')
    for arguments, message in (
        (["bad.json"], "comparison bad.json is not valid: model_id: Field required"),
        (["bad.json", "--export", "csv", "charts"], "--export is for profiles"),
        (["profile.json", "bad.json"], "comparison profile.json is not valid"),
    ):
        assert run(*arguments, monkeypatch=monkeypatch, folder=folder, command="plot") == 2
        errors = capfd.readouterr().err
        assert message in errors and errors.count("\n") == 1


def test_after_kill_9_the_same_command_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A process killed in the middle, with an incomplete last line; the result equals that of an uninterrupted run."""
    command = [sys.executable, "-W", "ignore", "-m", "cli.main", "compare-methods", *TINY, "--output", "k.json"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3]), "HF_HUB_OFFLINE": "1"}
    journal = folder / "k.json.unfinished"
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL) as running:
        deadline = time.monotonic() + 120
        while lines(journal) < 4 and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        running.send_signal(signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL
    done = lines(journal) - 1
    assert 3 <= done < 12
    with journal.open("ab") as stream:
        stream.write(b'{"ids": ["s')
    again = [*TINY, "--output", "k.json"]
    assert run(*again, "--flops", "1.4", monkeypatch=monkeypatch, folder=folder) == 2
    assert "unfinished work with another plans; got" in capfd.readouterr().err
    assert run(*again, monkeypatch=monkeypatch, folder=folder) == 0
    assert f"{done} samples were done by an earlier run" in capfd.readouterr().out
    assert not journal.exists()
    assert run(*TINY, "--output", "peace.json", monkeypatch=monkeypatch, folder=folder) == 0
    killed, peace = (timeless(MethodComparison.load(folder / name)) for name in ("k.json", "peace.json"))
    del killed["arguments_given"], peace["arguments_given"]  # --output differs
    assert killed == peace
