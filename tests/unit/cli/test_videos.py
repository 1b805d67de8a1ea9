"""Videos through the commands: generate, doctor and evaluate, as videos or frame by frame, and one-line errors."""

import json
from pathlib import Path

import pytest

from halfv_core import Plan, apply
from halfv_core.models import load_model
from probe.data.videos import video_at
from probe.trials.answers import greedy_answer
from tests.checkpoints import save_checkpoint
from tests.unit.cli.test_data import call
from tests.video_files import write_video

pytest.importorskip("av")
ASK = ("--prompt", "w8 w9", "--max-new-tokens", "3", "--device", "cpu")
AS_IMAGES = "the model's processor takes no videos: their frames are given to it as images\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that takes videos, one that takes none, a video, a broken one, and two rows about the video."""
    root = tmp_path_factory.mktemp("work")
    for family in ("qwen3_vl", "llava"):
        save_checkpoint(family, root / family)
    write_video(root / "a.mp4")
    (root / "broken.mp4").write_bytes((root / "a.mp4").read_bytes()[:500])
    row = {"video": "a.mp4", "question": "w8 w9", "answer": "w3"}
    (root / "data.jsonl").write_text(f"{json.dumps(row)}\n" * 2)
    return root


@pytest.mark.parametrize("family", ["qwen3_vl", "llava"])
def test_generate_answers_about_a_video(
    folder: Path, family: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("generate", "--model", f"./{family}", "--video", "a.mp4", "--frames", "4", *ASK, "--json")
    assert call(folder, monkeypatch, *words) == 0
    output, errors = capfd.readouterr()
    assert (AS_IMAGES in errors) == (family == "llava")
    model, processor, _ = load_model(str(folder / family), device="cpu")
    inputs = processor.prompt([], "w8 w9", videos=[video_at(folder / "a.mp4", 4).open()])
    with apply(model, Plan(())):
        assert json.loads(output)["full"]["answer"] == processor.decode(greedy_answer(model, inputs, 3))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "nothing to ask about; expected --image or --video"),
        (("--video", "gone.mp4"), "video does not exist; got gone.mp4"),
        (("--video", "broken.mp4"), "broken.mp4 is not a video that can be read"),
        (("--video", "data.jsonl"), "data.jsonl is not a video that can be read"),
    ],
)
def test_a_video_that_cannot_be_read_is_one_line(
    folder: Path,
    words: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert call(folder, monkeypatch, "generate", "--model", "./llava", *words, *ASK) == 2
    output, errors = capfd.readouterr()
    assert message in errors and errors.count("\n") == 1 and output == ""


def test_doctor_shows_videos(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert call(folder, monkeypatch, "doctor", "--data", "data.jsonl", "--frames", "5") == 0
    output, errors = capfd.readouterr()
    assert "columns: video = video, question = question" in output
    assert "a.mp4 5 of 20 frames, 2.0 s, 64x48 px" in output and errors == ""


@pytest.mark.parametrize(("family", "taken"), [("qwen3_vl", "as videos"), ("llava", "as images, frame by frame")])
def test_doctor_says_how_a_model_takes_videos(
    folder: Path, family: str, taken: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(folder, monkeypatch, "doctor", "--model", f"./{family}", "--device", "cpu", "--json") == 0
    assert json.loads(capfd.readouterr().out)["model"]["videos"] == taken


@pytest.mark.parametrize("command", ["analyze", "compare-methods"])
def test_commands_take_data_with_videos(
    folder: Path, command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    few = {
        "analyze": ("--probes", "shares", "--examples", "1", "--report", "page.html"),
        "compare-methods": ("--methods", "fastv", "--flops", "1.5", "--batch", "2"),
    }[command]
    words = ("--model", "./llava", "--data", "data.jsonl", "--frames", "2", "--samples", "2", "--device", "cpu")
    assert call(folder, monkeypatch, command, *words, *few, "--max-new-tokens", "2", "--output", "out.json") == 0
    assert AS_IMAGES in capfd.readouterr().err
    assert (folder / "out.json").is_file()
