"""Checkpoints that are damaged, or whose parts do not fit together: one line for every command that runs them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints import TORCHVISION, save_checkpoint
from tests.pictures import noise
from tests.unit.cli.test_calibrate import FAST
from tests.unit.cli.test_data import call

Capture = pytest.CaptureFixture[str]


def edited(file: Path, change: Callable[[Any], None]) -> None:
    """Change a JSON file."""
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with the checkpoint `model`, six images and questions about them."""
    save_checkpoint("qwen2_5_vl", tmp_path / "model")
    rows = [{"image": f"{index}.png", "question": f"w{20 + index} w9", "answer": "w3"} for index in range(6)]
    for index, row in enumerate(rows):
        noise(64, 64, 10 + 20 * index, index).save(tmp_path / row["image"])
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def line(work: Path, patch: pytest.MonkeyPatch, capfd: Capture, code: int, *arguments: str) -> str:
    """Run a command that must end with this exit code and one line on stderr, which is returned."""
    capfd.readouterr()
    assert call(work, patch, *arguments) == code
    return last_line(capfd)


def last_line(capfd: Capture) -> str:
    """The one line on stderr, after progress bars."""
    lines = [text for text in capfd.readouterr().err.splitlines() if "━" not in text]
    assert len(lines) == 1 and lines[0].startswith("halfv-probe: "), lines
    return lines[0]


DOCTOR = ("doctor", "--model", "model")
GENERATE = ("generate", "--model", "model", "--image", "0.png", "--prompt", "w8", "--max-new-tokens", "2")
CALIBRATE = ("calibrate", "--model", "model", "--data", "data.jsonl", "--output", "p.json", *FAST)


def _patches_of_another_size(model: Path) -> None:
    edited(model / "preprocessor_config.json", lambda content: content.update(patch_size=16))


def _more_words_than_embeddings(model: Path) -> None:
    file = model / "tokenizer.json"
    edited(file, lambda content: content["model"]["vocab"].update({"w8": 99, "w9": 99}))


def _another_image_token(model: Path) -> None:
    edited(model / "config.json", lambda content: content.update(image_token_id=40))


@pytest.mark.parametrize("damage", [_patches_of_another_size, _more_words_than_embeddings, _another_image_token])
def test_a_forward_pass_that_fails_is_one_line(
    damage: Callable[[Path], None], work: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    damage(work / "model")
    assert "the model or its processor failed (" in line(work, monkeypatch, capfd, 1, *GENERATE)
    said = line(work, monkeypatch, capfd, 2, *CALIBRATE)
    assert "cannot be used" in said and "the model or its processor failed (" in said
    if damage is not _more_words_than_embeddings:  # doctor's own question has none of these words
        assert "failed (" in line(work, monkeypatch, capfd, 1, *DOCTOR)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"merge_size": 3}, "failed ("),
        ({"image_mean": [0.5, 0.5]}, "the processor cannot prepare this prompt ("),
        ({"rescale_factor": "x"}, "the processor cannot prepare this prompt ("),
        ({"size": {"side": 3}}, "("),
    ],
)
def test_an_image_processor_that_fails_is_one_line(
    settings: dict[str, Any], said: str, work: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    edited(work / "model" / "preprocessor_config.json", lambda content: content.update(settings))
    for command in (DOCTOR, GENERATE, CALIBRATE):
        capfd.readouterr()
        assert call(work, monkeypatch, *command) in (1, 2)
        assert said in last_line(capfd)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", "[]"),
        ("config.json", '{"model_type": "qwen2_5_vl", "text_config": 3}'),
        ("config.json", '{"model_type": "llava", "text_config": {"model_type": "none"}}'),
        ("config.json", '{"model_type": "bert"}'),
        ("generation_config.json", "["),
        ("generation_config.json", '{"eos_token_id": {}}'),
        ("tokenizer.json", "{}"),
        ("tokenizer_config.json", '{"tokenizer_class": 3}'),
        ("preprocessor_config.json", "[1]"),
        ("preprocessor_config.json", '{"image_processor_type": "None"}'),
        ("chat_template.jinja", "{{ messages[0].content.a.b }}"),
        ("chat_template.jinja", "{% for m in messages %}{{ m.role }}{% endfor %}"),
        ("chat_template.jinja", "{{ raise_exception('text only') }}"),
        ("chat_template.jinja", ""),
        ("model.safetensors", ""),
    ],
)
def test_a_damaged_file_is_one_line(
    file: str, content: str, work: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    (work / "model" / file).write_text(content)
    assert "model" in line(work, monkeypatch, capfd, 2, *GENERATE)


def test_a_checkpoint_that_names_no_end_is_refused(work: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    """Every answer would run on to the longest that is allowed."""
    (work / "model" / "generation_config.json").unlink()
    assert call(work, monkeypatch, *GENERATE) == 0

    def without_end(config: dict[str, Any]) -> None:
        config["eos_token_id"] = config["text_config"]["eos_token_id"] = None

    edited(work / "model" / "config.json", without_end)
    assert "does not say which token ends an answer" in line(work, monkeypatch, capfd, 2, *GENERATE)


def test_doctor_fails_for_a_model_that_it_cannot_prove(
    work: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    file = work / "model" / "model.safetensors"
    weights = load_file(file)
    weights["lm_head.weight"][:] = torch.inf
    save_file(weights, file, metadata={"format": "pt"})
    assert call(work, monkeypatch, *DOCTOR) == 1
    shown = capfd.readouterr()
    assert "the model cannot be probed:" in shown.out
    assert "since it failed: weights are numbers, not only zeros; got 1 of" in shown.err
    assert "first lm_head.weight; try" in shown.err and shown.err.count("\n") == 1
    assert call(work, monkeypatch, *DOCTOR, "--json") == 1
    checks = json.loads(capfd.readouterr().out)["model"]["checks"]
    assert [check["passed"] for check in checks] == [False, True, False]


def test_doctor_shows_what_it_proved(work: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    assert call(work, monkeypatch, *DOCTOR) == 0
    shown = capfd.readouterr().out
    assert "the model can be probed:" in shown and "pruning equals masking" in shown
    assert f"(resizes with {'torchvision' if TORCHVISION else 'pil'})" in shown
    assert call(work, monkeypatch, *DOCTOR, "--json") == 0
    checks = json.loads(capfd.readouterr().out)["model"]["checks"]
    assert len(checks) == 10 and all(check["passed"] for check in checks)


@pytest.mark.parametrize("device", ["banana", "meta", "cuda:77"])
@pytest.mark.parametrize(
    "command",
    [
        DOCTOR,
        GENERATE,
        CALIBRATE,
        ("evaluate", "--model", "model", "--profile", "{profile}", "--data", "data.jsonl"),
        ("bench", "--model", "model"),
        ("bench", "--model", "model", "--random-weights"),
    ],
    ids=lambda command: " ".join(command[::6]),
)
def test_a_device_that_is_not_there_is_one_line(
    command: tuple[str, ...], device: str, work: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    profile = str(Path("data_samples/profiles/tiny-qwen2.5-vl.json").resolve())
    arguments = [part.replace("{profile}", profile) for part in command]
    said = line(work, monkeypatch, capfd, 2, *arguments, "--device", device)
    assert f"unknown device; got {device}; expected auto or cpu" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--max-memory", "banana=1GiB"), "memory is limited of a device that there is not; got banana; expected"),
        (("--max-memory", "cpu=much"), "the memory limit of cpu is not a size; got much; expected as 8GiB or 500MB"),
        (("--max-memory", "9GiB"), "a memory limit names a device and a size; got 9GiB; expected as 0=10GiB or"),
        (
            ("--max-memory", "cpu=9GiB", "--device", "cpu"),
            "for a model that may be spread; got device cpu; expected device auto, or device_map auto",
        ),
    ],
)
def test_a_memory_limit_that_is_none_is_one_line(
    options: tuple[str, ...], said: str, work: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    assert said in line(work, monkeypatch, capfd, 2, *GENERATE, *options)


def test_a_model_that_does_not_fit_answers_from_disk(
    work: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    answers = []
    for limit in ((), ("--max-memory", "cpu=20KiB")):
        assert call(work, monkeypatch, *GENERATE, *limit, "--json") == 0
        answers.append(json.loads(capfd.readouterr().out)["full"]["answer"])
    assert answers[0] == answers[1]


def test_files_that_cannot_be_read_part_by_part_are_one_line(
    work: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    weights = work / "model" / "model.safetensors"
    torch.save(load_file(weights), work / "model" / "pytorch_model.bin")
    weights.unlink()
    said = line(work, monkeypatch, capfd, 2, *GENERATE, "--max-memory", "cpu=20KiB")
    assert "its files cannot be read part by part; got other files than safetensors; save the checkpoint again" in said


def test_out_of_memory_keeps_what_was_measured(work: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

    forward, calls = Qwen2_5_VLModel.forward, []

    def full(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) > 40:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has ...")
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(Qwen2_5_VLModel, "forward", full)
    said = line(work, monkeypatch, capfd, 1, *CALIBRATE)
    assert "out of memory (OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB.); use --dtype" in said
    assert (work / "p.json.unfinished").read_text().count("\n") > 1
