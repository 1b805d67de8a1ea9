"""Names and loading: the same path for a bundled folder, a hub layout on disk, and a hub id."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from halfv_core import HalfVError
from halfv_core.models import MODEL_NAMES, load_model, resolve
from halfv_core.processors import ComposedProcessor, PromptProcessor
from tests.checkpoints import READABLE, TORCHVISION, save_checkpoint
from tests.hub import running_hub
from tests.pictures import noise
from tests.tiny import IMAGE

PICTURES = [Image.new("RGB", (50, 50), (200, 30, 30)), noise(64, 64, 60)]


@pytest.mark.parametrize("family", READABLE)
@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_folder_loads_and_answers(family: str, legacy: bool, tmp_path: Path) -> None:
    model, processor, name = load_model(str(save_checkpoint(family, tmp_path / "checkpoint", legacy)))
    assert name == str(tmp_path / "checkpoint")
    assert not model.training
    inputs = processor.prompt(PICTURES, "w8 w9")
    # Of two square pictures together; LLaVA-NeXT's tall tile grid is cut to half for them, and LLaVA-OneVision cuts
    # only single pictures into tiles.
    assert int((inputs["input_ids"] == IMAGE).sum()) == {"llava_next": 20, "llava_onevision": 10}.get(family, 32)
    assert inputs["input_ids"][0, -3:].tolist() == [8, 9, 7]
    ids = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert processor.decode(ids[0, -3:]).startswith("w")
    assert processor.prompt([], "w8 w9")["input_ids"].tolist() == [[8, 9, 7]]


def test_composed_inputs_equal_those_of_the_checkpoints_own_processor(tmp_path: Path) -> None:
    """Where Qwen2_5_VLProcessor cannot be constructed, its missing video part is passed over to ask it nevertheless."""
    from transformers import Qwen2_5_VLProcessor

    loaded = load_model(str(save_checkpoint("qwen2_5_vl", tmp_path / "checkpoint"))).processor.backend
    assert isinstance(loaded, Qwen2_5_VLProcessor if TORCHVISION else ComposedProcessor)
    ours = ComposedProcessor(loaded.image_processor, loaded.tokenizer, loaded.chat_template)
    own: Any = object.__new__(Qwen2_5_VLProcessor)
    own.image_processor, own.tokenizer, own.chat_template = ours.image_processor, ours.tokenizer, ours.chat_template
    own.video_processor = None
    own.image_token, own.video_token = "<|image_pad|>", "<|video_pad|>"
    own.image_token_id, own.video_token_id = 60, 61
    own.image_ids, own.video_ids, own.audio_ids = [60], [61], []
    for pictures in (PICTURES, [PICTURES[1].resize((90, 40))]):
        content = [{"type": "image"} for _ in pictures] + [{"type": "text", "text": "w8 w9"}]
        text = own.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        expected = own(images=pictures, text=[text], return_tensors="pt", return_mm_token_type_ids=True)
        found = PromptProcessor(ours).prompt(pictures, "w8 w9")
        assert set(found) == set(expected)
        for key, value in found.items():
            assert torch.equal(value, expected[key].to(value.dtype)), key


def test_short_names_are_hub_ids() -> None:
    assert resolve("qwen2.5-vl-7b") == MODEL_NAMES["qwen2.5-vl-7b"] == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert resolve("somebody/some-model") == "somebody/some-model"


def test_a_wanted_dtype_is_used(tmp_path: Path) -> None:
    folder = save_checkpoint("llava", tmp_path / "checkpoint")
    assert load_model(str(folder), dtype="bfloat16").model.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no-such-model", "no model 'no-such-model'; expected a folder, a hub id (owner/name), or one of"),
        ("./no/such/folder", "no model './no/such/folder'"),
        ("{tmp}", "is not a checkpoint; got a folder without config.json"),
    ],
)
def test_a_wrong_name_is_one_clear_line(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(HalfVError) as caught:
        load_model(name.format(tmp=tmp_path))
    assert said in str(caught.value)


def test_without_network_the_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("halfv_core.models.hub_answers", lambda: False)
    monkeypatch.setenv("HF_HUB_CACHE", "gone")
    with pytest.raises(HalfVError) as caught:
        load_model("qwen2.5-vl-7b")
    assert str(caught.value) == (
        "cannot get Qwen/Qwen2.5-VL-7B-Instruct from the hub (no network, and not whole in the local cache); connect "
        "to the network, or download the checkpoint elsewhere and pass its folder: --model /path/to/it"
    )


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot load the checkpoint"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"cut"), "got 3 bytes for "),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot load the checkpoint"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "processor"),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "has no chat template"),
    ],
)
def test_a_damaged_checkpoint_is_one_clear_line(damage: Any, said: str, tmp_path: Path) -> None:
    folder = save_checkpoint("qwen2_5_vl", tmp_path / "checkpoint")
    damage(folder)
    with pytest.raises(HalfVError) as caught:
        load_model(str(folder))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_processes_of_one_machine_download_a_checkpoint_once(tmp_path: Path) -> None:
    save_checkpoint("llava", tmp_path / "model")
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    code = "from halfv_core.models import load_model; load_model('owner/name', device='cpu')"
    with running_hub(tmp_path / "cache") as hub:
        hub.files["owner/name"] = {path.relative_to(tmp_path / "model").as_posix(): path.read_bytes() for path in files}
        environment = os.environ | hub.environment()
        running = [subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], env=environment) for _ in range(3)]
        assert [process.wait(timeout=300) for process in running] == [0, 0, 0]
        downloads = Counter(request for request in hub.requests if request.startswith("GET /owner/name/resolve/"))
    assert downloads["GET /owner/name/resolve/main/model.safetensors"] == 1 and set(downloads.values()) == {1}
