"""Output paths: an input, another output, a folder or a device is found before the work begins."""

import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.outputs import Output, prepare
from halfv_core.errors import HalfVError
from tests import profiles

CALIBRATE = ["calibrate", "--model", "no-such-model"]
EVALUATE = ["evaluate", "--model", "no-such-model", "--profile", "p.json"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with a profile, links to it, and data."""
    monkeypatch.chdir(tmp_path)
    profiles.qwen_like().save("p.json")
    Path("link.json").symlink_to("p.json")
    os.link("p.json", "hard.json")
    Path("data.jsonl").write_text("{}\n")
    Path("p.observations.json").write_text("{}\n")
    os.mkfifo("pipe")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plot", "p.json", "--output", "p.json"], "--output would overwrite .*; got p.json, which the command reads"),
        (["plot", "p.json", "--output", "x/../link.json"], "got x/../link.json, which the command reads"),
        (["plot", "link.json", "--output", "p.json"], "got p.json, which the command reads"),
        (["plot", "p.json", "--output", "hard.json"], "got hard.json, which the command reads"),
        (["plot", "p.json", "--output", "p.observations.json"], "got p.observations.json, which the command reads"),
        (["export", "p.json", "--format", "yaml", "--output", "p.json"], "got p.json, which the command reads"),
        (["bench", "--model", "x", "--profile", "p.json", "--output", "p.json"], "which the command reads"),
        ([*EVALUATE, "--output", "p.json"], "got p.json, which the command reads"),
        ([*EVALUATE, "--data", "data.jsonl", "--output", "data.jsonl"], "got data.jsonl, which the command reads"),
        ([*EVALUATE, "--output", "pipe"], "cannot write pipe: a device or a pipe has no room for the files beside it"),
        ([*CALIBRATE, "--data", "data.jsonl", "--output", "data.jsonl"], "got data.jsonl, which the command reads"),
        ([*CALIBRATE, "--output", "q.json", "--report", "./q.json"], "--report would .*; got q.json, which --output"),
        ([*CALIBRATE, "--output", "q.json", "--report", "q.observations.json"], "which --output writes"),
        ([*CALIBRATE, "--output", "q.json", "--report", "q.json.unfinished"], "which --output writes"),
        ([*CALIBRATE, "--output", "."], r"cannot write \.: Is a directory; choose another --output"),
        ([*EVALUATE, "--output", "/"], r"cannot write /: Is a directory; choose another --output"),
        (["plot", ".", "--output", "r.html"], r"cannot read profile \.: Is a directory"),
        ([*CALIBRATE, "--output", "x" * 300], "cannot write x*: .*; choose another --output"),
        ([*CALIBRATE, "--output", os.devnull], "cannot write .*null: a device or a pipe has no room"),
    ],
)
def test_a_bad_output_is_refused_before_anything_is_lost(words: list[str], message: str) -> None:
    before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, HalfVError)
    assert re.search(message, str(result.exception)), result.exception
    assert "\n" not in str(result.exception) and result.exception.exit_code == 2
    assert {path: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before


def test_good_outputs_are_prepared() -> None:
    report = Output("--report", Path(os.devnull))
    prepare([Output("--output", Path("new/q.json"), beside=(Path("new/j"),)), report], ["scenes", None, Path("p.json")])
    assert Path("new").is_dir()
    prepare([Output("--output", Path(os.devnull)), report], [Path(os.devnull)])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_found_before_the_work() -> None:
    Path("closed").mkdir(mode=0o555)
    with pytest.raises(HalfVError, match="cannot write closed/b.json: no permission to write into its folder"):
        prepare([Output("--output", Path("closed/b.json"))], [])
