"""`evaluate` as a user runs it: on a bundled model, with one-line errors, and after kill -9."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from halfv_core import Profile
from halfv_core.models import bundled_models, load_model
from probe.evaluation.ablation import Ablation
from probe.evaluation.comparison import Comparer
from tests.checkpoints import save_checkpoint
from tests.profiles import unsaturated
from tests.unit.probe.calibration.test_calibrate import write_samples
from tests.unit.probe.evaluation.test_ablation import timeless, tiny_profile

BUNDLED = "tiny-qwen2.5-vl"
SHIPPED = bundled_models()[BUNDLED].parents[1] / "profiles" / f"{BUNDLED}.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint, its profile, the profile of another model, and three kinds of data."""
    root = tmp_path_factory.mktemp("work")
    save_checkpoint("llava", root / "model")
    tiny_profile(load_model(str(root / "model"), device="cpu").model).save(root / "profile.json")
    unsaturated().save(root / "other.json")
    rows = write_samples(root, 12).read_text().splitlines()
    blank = [json.dumps({name: text for name, text in json.loads(row).items() if name != "answer"}) for row in rows]
    (root / "blank.jsonl").write_text("\n".join(blank))
    (root / "some.jsonl").write_text("\n".join([*blank[:4], *rows[4:]]))
    return root


def evaluate(*arguments: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
    """Run `halfv-probe evaluate ...` in the folder, in this process; return its exit code."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["halfv-probe", "evaluate", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


TINY = ["--model", "./model", "--profile", "profile.json", "--data", "data.jsonl", "--max-new-tokens", "2"]


def test_a_published_method_is_one_more_variant(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = ["--samples", "2", "--variant", "ivr", "--method", "vtw", "--output", "method.json"]
    assert evaluate(*TINY, *few, monkeypatch=monkeypatch, folder=folder) == 0
    found = Ablation.model_validate_json((folder / "method.json").read_text())
    assert list(found.variants) == ["full", "ivr", "vtw"]
    assert found.variants["vtw"].plan.describe() == ["layer 2: drop all visual tokens"]


def test_the_bundled_model_is_compared_in_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    few = ["--model", BUNDLED, "--profile", str(SHIPPED), "--samples", "7"]
    assert evaluate(*few, "--output", "out/e.json", monkeypatch=monkeypatch, folder=tmp_path) == 0
    printed = capfd.readouterr().out
    assert "full     ivr     ssr  ivr+ssr  wrong_ssr" in printed
    for row in (
        "counting",
        "mean accuracy",
        "retention",
        "log-likelihood",
        "FLOPs, decoder",
        "KV cache",
        "first token",
    ):
        assert f"\n{row} " in printed
    assert "calibration" not in printed and "record: out/e.json" in printed
    assert max(map(len, printed.splitlines())) <= 80
    found = Ablation.model_validate_json((tmp_path / "out" / "e.json").read_text())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["e.json"]
    assert len({one.family for one in found.comparisons}) == len(found.comparisons) == 7
    assert found.variants["full"].accuracy >= 0.7
    assert found.variants["ivr+ssr"].plan == Profile.load(SHIPPED).plan
    assert found.arguments_given["samples"] == 7 and "seed" not in found.arguments_given


def test_json_is_the_record_and_variants_can_be_chosen(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    some = ["--variant", "ssr", "--samples", "3", "--output", "j.json", "--json"]
    assert evaluate(*TINY, *some, monkeypatch=monkeypatch, folder=folder) == 0
    printed = json.loads(capfd.readouterr().out)
    assert list(printed["variants"]) == ["full", "ssr"]
    assert printed == json.loads((folder / "j.json").read_text())


def test_what_flatters_and_what_is_left_out_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    profile = Profile.load(folder / "profile.json")
    renamed = profile.provenance.model_copy(update={"data": "some.jsonl", "sample_ids": ("s4", "s5", "s0")})
    no_tests = profile.saturation.model_copy(update={"tests": ()})
    profile.model_copy(update={"provenance": renamed, "saturation": no_tests}).save(folder / "flattered.json")
    options = ["--profile", "flattered.json", "--data", "some.jsonl", "--output", "s.json"]
    assert evaluate(*TINY, *options, monkeypatch=monkeypatch, folder=folder) == 0
    printed = capfd.readouterr()
    assert "4 of 12 samples have no reference answer and are left out" in printed.err
    text = " ".join(printed.out.split())
    assert "the plan was chosen on 2 of 8 samples, by their ids: on those it looks better than it is" in text
    assert "no wrong_ssr: the profile does not say what else was tried in Stage III" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile", "gone.json"], "cannot read profile gone.json"),
        (["--profile", "other.json"], "made for another model; got llava"),
        (["--profile", "other.json", "--variant", "ssr"], "no variant 'ssr': the plan leaves Stage III alone"),
        (["--variant", "both"], "unknown variant; got both; expected full or ivr or ssr"),
        (["--grading", "kind"], "unknown grading; got kind; expected auto or exact or soft or letter"),
        (["--grading", "letter"], "grading by letter needs choices; got sample"),
        (["--data", "blank.jsonl"], "no sample has a reference answer; got 12 without; name the column with --column"),
        (["--samples", "0"], "at least one sample is needed; got 0"),
        (["--data", "gone.jsonl"], "cannot read data gone.jsonl"),
        (["--model", "./gone"], "no model './gone'"),
        (["--output", "data.jsonl/e.json"], "cannot write data.jsonl/e.json"),
        (["--output", "model"], "cannot write model: Is a directory; choose another --output"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_2(
    folder: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(*TINY, *arguments, monkeypatch=monkeypatch, folder=folder) == 2
    output, errors = capfd.readouterr()
    assert message in errors
    assert (output, errors.count("\n")) == ("", 1)
    assert errors.startswith("halfv-probe: ")


def test_after_kill_9_the_same_command_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A process killed in the middle, with an incomplete last line; the result equals that of an uninterrupted run."""
    command = [sys.executable, "-W", "ignore", "-m", "cli.main", "evaluate", *TINY, "--output", "k.json"]
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
        stream.write(b'{"id": "s')
    ran = watched(monkeypatch)
    again = [*TINY, "--output", "k.json"]
    assert evaluate(*again, "--grading", "exact", monkeypatch=monkeypatch, folder=folder) == 2
    refused = capfd.readouterr().err
    assert "unfinished work with another grading; got" in refused and refused.count("\n") == 1
    assert evaluate(*again, monkeypatch=monkeypatch, folder=folder) == 0
    assert f"{done} samples were done by an earlier run" in capfd.readouterr().out
    assert len(ran) == 12 - done
    assert not journal.exists()
    assert evaluate(*TINY, "--output", "peace.json", monkeypatch=monkeypatch, folder=folder) == 0
    assert result(folder / "k.json") == result(folder / "peace.json")


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the samples that run from now on."""
    ran, compare = [], Comparer.compare

    def run(self: Comparer, index: int, sample: Any) -> Any:
        ran.append(sample.id)
        return compare(self, index, sample)

    monkeypatch.setattr(Comparer, "compare", run)
    return ran


def result(path: Path) -> dict[str, Any]:
    found = timeless(Ablation.model_validate_json(path.read_text()))
    del found["arguments_given"]  # --output differs
    return found
