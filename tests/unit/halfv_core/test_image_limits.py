"""Processors whose settings ask for too much of an image are refused before they take the memory."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from halfv_core.errors import DataError
from halfv_core.image_limits import MAX_PIXELS, resized_pixels, visual_tokens
from halfv_core.processors import PromptProcessor, load_processor
from tests.checkpoints import CHECKPOINTS, READABLE, save_checkpoint

HUGE = 10**6
PHOTO = Image.new("RGB", (64, 48))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkpoints")
    for family in CHECKPOINTS:
        save_checkpoint(family, root / family)
    return root


def changed(folder: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> PromptProcessor:
    """The processor of a checkpoint with other settings, of its image processor where it has them."""
    processor = load_processor(str(folder), offline=True)
    for name, value in settings.items():
        owner = processor.backend if hasattr(processor.backend, name) else processor.backend.image_processor
        monkeypatch.setattr(owner, name, value)
    return processor


@pytest.mark.parametrize(
    ("family", "settings", "said"),
    [
        ("qwen2_5_vl", {"size": {"shortest_edge": 10**12, "longest_edge": 10**12}}, "1,000,000,000,000 pixels"),
        ("qwen2_5_vl", {"patch_size": HUGE}, "pixels"),
        ("qwen2_vl", {"size": {"shortest_edge": 10**8, "longest_edge": 10**8}, "patch_size": 1}, "tokens"),
        ("qwen3_vl", {"merge_size": HUGE}, "pixels"),
        ("qwen2_5_vl", {"temporal_patch_size": 10**12}, "pixels"),
        ("llava", {"size": {"shortest_edge": HUGE}}, "1,333,333,333,333 pixels"),
        ("llava", {"crop_size": {"height": HUGE, "width": HUGE}}, "1,000,000,000,000 pixels"),
        ("llava", {"num_additional_image_tokens": 2**31}, "tokens"),
        ("llava", {"patch_size": 0.001}, "tokens"),
        ("llava_next", {"image_grid_pinpoints": [[HUGE, HUGE]]}, "pixels"),
        ("llava_next", {"num_additional_image_tokens": 10**30}, "tokens"),
        ("gemma3", {"size": {"height": HUGE, "width": HUGE}}, "pixels"),
        ("gemma3", {"image_seq_length": 10**9}, "1,000,000,000 tokens"),
        ("idefics3", {"size": {"longest_edge": HUGE}}, "pixels"),
        ("idefics3", {"max_image_size": {"longest_edge": HUGE}}, "pixels"),
        ("idefics3", {"image_seq_len": 10**400}, "inf tokens"),
    ],
)
def test_too_much_is_refused_in_one_line(
    family: str, settings: dict[str, Any], said: str, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = changed(checkpoints / family, settings, monkeypatch)
    with pytest.raises(DataError) as caught:
        processor.prompt([PHOTO], "w8")
    line = str(caught.value)
    assert line.startswith("the processor's settings make too much of an image of 64 x 48 px; got ")
    assert said in line and "; expected at most 1" in line and "preprocessor_config.json" in line


@pytest.mark.parametrize("family", READABLE)
@pytest.mark.parametrize("size", [(64, 48), (640, 100), (50, 400)])
def test_the_tokens_are_those_of_the_prompt(family: str, size: tuple[int, int], checkpoints: Path) -> None:
    """With an image, the prompt is longer by its tokens, and by those that some families put around them."""
    processor = load_processor(str(checkpoints / family), offline=True)
    image = Image.new("RGB", size)
    none, one = (processor.prompt([image] * count, "w8")["input_ids"].shape[1] for count in (0, 1))
    assert 0 <= one - none - visual_tokens(processor.backend, *size) <= 3
    assert 0 < resized_pixels(processor.backend.image_processor, *size) < 10_000 * 8


@pytest.mark.parametrize("value", [None, "x", -1, 0, True, [], {}, {"side": 3}, float("nan"), [[1]], object()])
def test_settings_without_sense_are_left_to_the_processor(
    value: Any, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for family in ("qwen2_5_vl", "llava_next", "idefics3"):
        for name in ("size", "patch_size", "crop_size", "image_grid_pinpoints"):
            with monkeypatch.context() as patch:
                processor = load_processor(str(checkpoints / family), offline=True)
                patch.setattr(processor.backend.image_processor, name, value, raising=False)
                assert 0 <= resized_pixels(processor.backend.image_processor, 64, 48) <= MAX_PIXELS
                assert visual_tokens(processor.backend, 64, 48) >= 0


def test_the_settings_in_a_file_are_what_counts(checkpoints: Path, tmp_path: Path) -> None:
    folder = save_checkpoint("qwen2_5_vl", tmp_path / "model")
    file = folder / "preprocessor_config.json"
    size = {"size": {"shortest_edge": 10**10, "longest_edge": 10**10}}
    file.write_text(json.dumps(json.loads(file.read_text()) | size))
    with pytest.raises(DataError, match="got 10,000,000,000 pixels; expected at most 100,000,000"):
        load_processor(str(folder), offline=True).prompt([PHOTO], "w8")
