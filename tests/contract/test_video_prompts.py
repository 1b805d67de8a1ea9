"""Prompts with videos: what the checkpoints' own processors make, whatever prepares them, and right under plans."""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch

from halfv_core.clips import Clip
from halfv_core.composed_processor import ComposedProcessor
from halfv_core.errors import DataError
from halfv_core.families import parts_of
from halfv_core.interleaving import IMAGE_PLACE, VIDEO_PLACE, chat_messages, user_content
from halfv_core.processors import PromptProcessor, _video_settings, load_processor
from probe.capture.regions import regions_of
from tests.checkpoints import READABLE, TORCHVISION, VIDEO_FAMILIES, save_processor
from tests.contract.test_families import PLANS, check_against_reference
from tests.pictures import noise
from tests.tiny import tiny_model

QWEN = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"]
SHOWN = [family for family in VIDEO_FAMILIES if family in READABLE]
OTHERS = [family for family in READABLE if family not in VIDEO_FAMILIES]


@cache
def processor_of(family: str, composed: bool = False) -> PromptProcessor:
    """The processor of a family's checkpoint, or the one that is composed where it cannot be built."""
    with TemporaryDirectory() as folder:
        path = str(save_processor(family, Path(folder)))
        found = load_processor(path, offline=True)
        if not composed:
            return found
        own = found.backend
        settings = _video_settings(path, {"local_files_only": True})
        return PromptProcessor(ComposedProcessor(own.image_processor, found.tokenizer, own.chat_template, settings))


def clip(frames: int, seed: int = 0, size: tuple[int, int] = (96, 64)) -> Clip:
    """Every third frame of a video of 7.5 frames a second."""
    shown = tuple(noise(*size, 60, seed=seed + number) for number in range(frames))
    return Clip(shown, tuple(range(0, 3 * frames, 3)), 3 * frames, 7.5)


CLIPS = {
    "one": ([clip(6)], 0),
    "odd": ([clip(5)], 0),
    "single frame": ([clip(1)], 0),
    "two": ([clip(4), clip(4, 20, (64, 96))], 0),
    "beside an image": ([clip(4)], 1),
}


def inputs_of(processor: PromptProcessor, name: str) -> dict[str, torch.Tensor]:
    clips, images = CLIPS[name]
    return processor.prompt([noise(64, 64, 60, seed=9)] * images, "w3 w4", videos=clips)


@pytest.mark.skipif(not TORCHVISION, reason="needs the checkpoints' own video processors")
@pytest.mark.parametrize("family", QWEN)
@pytest.mark.parametrize("name", CLIPS)
def test_composed_videos_are_those_of_the_own_processor(family: str, name: str) -> None:
    own, composed = (inputs_of(processor_of(family, which), name) for which in (False, True))
    assert own.keys() == composed.keys()
    for key, value in own.items():
        step = 0.016 if key == "pixel_values_videos" else 0  # one of 255 levels, divided by the deviation
        assert value.shape == composed[key].shape
        torch.testing.assert_close(composed[key].float(), value.float(), rtol=0, atol=step)


@pytest.mark.skipif(not TORCHVISION, reason="needs the checkpoints' own video processors")
@pytest.mark.parametrize("limits", [(64 * 64, 80 * 80), (128 * 128, 10**6)])
def test_limits_of_pixels_are_found_where_the_hub_keeps_them(limits: tuple[int, int], tmp_path: Path) -> None:
    """Qwen2.5-VL's checkpoints have no file for videos, and name the limits otherwise."""
    save_processor("qwen2_5_vl", tmp_path)
    path = tmp_path / "preprocessor_config.json"
    stored = json.loads(path.read_text())
    del stored["size"]
    path.write_text(json.dumps(stored | {"min_pixels": limits[0], "max_pixels": limits[1]}))
    own = load_processor(str(tmp_path), offline=True)
    settings = _video_settings(str(tmp_path), {"local_files_only": True})
    parts = own.backend.image_processor, own.tokenizer, own.backend.chat_template
    found, expected = (
        inputs_of(processor, "one")["video_grid_thw"]
        for processor in (PromptProcessor(ComposedProcessor(*parts, settings)), own)
    )
    assert torch.equal(found, expected)


@pytest.mark.skipif(not TORCHVISION, reason="needs the checkpoints' own video processors")
def test_times_are_written_as_the_own_processor_writes_them() -> None:
    from transformers.video_utils import VideoMetadata

    own, composed = processor_of("qwen3_vl").backend, processor_of("qwen3_vl", True).backend
    shown = clip(5)
    inputs = {"video_grid_thw": torch.tensor([[3, 4, 6]]), "video_metadata": [VideoMetadata(**shown.metadata)]}
    assert composed._video_text(shown, [3, 4, 6], composed.videos) == own.replace_video_token(inputs, 0)


def test_times_are_those_of_the_video() -> None:
    """Frames at 0, 0.4, 0.8 and 1.2 seconds, two of which are a step."""
    backend = processor_of("qwen3_vl", True).backend
    text = backend._video_text(clip(4), [2, 2, 2], backend.videos)
    assert text == "".join(f"<{time} seconds><|vision_start|><|video_pad|><|vision_end|>" for time in ("0.2", "1.0"))
    intervals = inputs_of(processor_of("qwen2_5_vl", True), "one")["second_per_grid_ts"]
    assert intervals.tolist() == pytest.approx([0.8])


@pytest.mark.parametrize("family", QWEN)
def test_a_patch_holds_its_own_frames(family: str) -> None:
    """Two black frames and two white ones: the first step in time is dark, the second bright; mixed, it is both."""
    from PIL import Image

    processor = processor_of(family, True)
    black, white = (Image.new("RGB", (64, 64), color) for color in ("black", "white"))

    def values(*frames: Image.Image) -> torch.Tensor:
        found = processor.prompt([], "w3", videos=[Clip(frames, tuple(range(len(frames))), len(frames), 1.0)])
        pixels, (grid,) = found["pixel_values_videos"], found["video_grid_thw"].tolist()
        return pixels.unflatten(0, (grid[0], -1)).unflatten(-1, (3, 2, -1))  # (steps, patches, 3, frames, pixels)

    steps = values(black, black, white, white)
    assert steps[0].amax() < 0 < steps[1].amin()
    mixed = values(black, white)
    assert mixed[:, :, :, 0].amax() < 0 < mixed[:, :, :, 1].amin()


@pytest.mark.parametrize("family", SHOWN)
@pytest.mark.parametrize("name", CLIPS)
def test_videos_under_a_plan_equal_the_masked_reference(family: str, name: str) -> None:
    inputs = inputs_of(processor_of(family), name)
    check_against_reference(family, "sdpa", PLANS["keep_twice"], inputs)


@pytest.mark.parametrize("family", SHOWN)
@pytest.mark.parametrize("name", CLIPS)
def test_each_token_is_found_on_its_frame(family: str, name: str) -> None:
    processor, model = processor_of(family), tiny_model(family)
    clips, images = CLIPS[name]
    messages = [{"role": "user", "content": user_content(images, f"{VIDEO_PLACE * len(clips)}w3", len(clips))}]
    if images:
        messages[0]["content"].sort(key=lambda part: part["type"] != "video")  # the video first
    inputs = processor.conversation(messages, [noise(64, 64, 60, seed=9)] * images, videos=clips)
    sizes = [(64, 64)] * images + [frame.size for one in clips for frame in one.frames]
    regions = regions_of(model, processor, inputs, sizes, frames=[len(one.frames) for one in clips])
    if images and family in ("internvl", "smolvlm"):
        return  # their inputs do not tell frames and images apart
    assert regions is not None
    steps = 2 if family in QWEN else 1
    starts = [images + sum(len(one.frames) for one in clips[:number]) for number in range(len(clips))]
    frames = [start + at for start, one in zip(starts, clips, strict=True) for at in range(0, len(one.frames), steps)]
    found = dict.fromkeys(region.image for region in regions if region is not None)
    assert list(found) == [*frames, *range(images)]  # in the order of the prompt
    visual = torch.isin(inputs["input_ids"], torch.tensor(parts_of(model).visual_ids))
    assert len(regions) == int(visual.sum())


@pytest.mark.parametrize("family", OTHERS)
def test_elsewhere_frames_are_images(family: str) -> None:
    processor = processor_of(family)
    assert not processor.takes_videos
    shown, picture = clip(2), noise(64, 64, 60, seed=9)
    found = processor.conversation(
        chat_messages(1, [("user", f"w3{VIDEO_PLACE}w4{IMAGE_PLACE}w5")], 1), [picture], videos=[shown]
    )
    expected = processor.conversation(
        chat_messages(3, [("user", f"w3{IMAGE_PLACE * 2}w4{IMAGE_PLACE}w5")]), [*shown.frames, picture]
    )
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_processor_without_video_settings_takes_frames_as_images() -> None:
    found = processor_of("qwen2_5_vl", True).backend
    bare = PromptProcessor(ComposedProcessor(found.image_processor, found.tokenizer, found.chat_template))
    assert not bare.takes_videos
    assert bare.video_settings() is None
    assert "pixel_values_videos" not in bare.prompt([], "w3", videos=[clip(2)])


@pytest.mark.parametrize("family", SHOWN)
def test_a_question_cannot_ask_for_more_videos_than_there_are(family: str) -> None:
    with pytest.raises(DataError, match="places for more videos than there are; got 2; expected 1"):
        processor_of(family).prompt([], f"{VIDEO_PLACE}w3{VIDEO_PLACE}", videos=[clip(2)])


def test_settings_that_make_too_much_of_a_video_are_refused(tmp_path: Path) -> None:
    save_processor("qwen3_vl", tmp_path)
    path = tmp_path / "video_preprocessor_config.json"
    stored: dict[str, Any] = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"size": {"shortest_edge": 10**12, "longest_edge": 10**12}}))
    with pytest.raises(DataError, match="make too much of a video of 6 frames of 96 x 64 px"):
        load_processor(str(tmp_path), offline=True).prompt([], "w3", videos=[clip(6)])
