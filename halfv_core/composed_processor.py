"""The processor of a Qwen-VL checkpoint, composed of its parts where its own class cannot be built.

`Qwen2_5_VLProcessor` and its kin need torchvision for their video part; the image processor and the tokenizer do not.
Images and videos become the same inputs, but for the rounding of resized pixels.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedTokenizerBase

from halfv_core.clips import Clip

if TYPE_CHECKING:
    from PIL import Image

VIDEO_TYPE = 2
"""What `mm_token_type_ids` has for a token of a video; 1 is an image, 0 is text."""


@dataclass(frozen=True)
class VideoSettings:
    """How a checkpoint's own processor prepares videos."""

    size: Mapping[str, int]
    """`shortest_edge` and `longest_edge`: fewest and most pixels of a frame, or of all frames if `has_times`."""
    patch_size: int
    """Side of a patch, pixels."""
    merge_size: int
    """Patches along each side of what becomes a token."""
    temporal_patch_size: int
    """Frames of a patch."""
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    resample: int
    has_times: bool
    """Whether each step in time is written into the prompt, behind its seconds (Qwen3-VL)."""
    has_intervals: bool
    """Whether the model is told the seconds between two steps (Qwen2.5-VL)."""

    def fitted(self, clip: Clip) -> tuple[int, int]:
        """(height, width) of the frames after resizing, by transformers' rule."""
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as by_frame
        from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize as by_video

        first = clip.frames[0]
        limits = {
            "factor": self.patch_size * self.merge_size,
            "min_pixels": self.size["shortest_edge"],
            "max_pixels": self.size["longest_edge"],
        }
        if self.has_times:
            steps = self.temporal_patch_size
            return by_video(len(clip.frames), first.height, first.width, temporal_factor=steps, **limits)  # type: ignore[no-any-return]
        return by_frame(first.height, first.width, **limits)  # type: ignore[no-any-return]


class ComposedProcessor:
    """Image processor, tokenizer and chat template of a Qwen-VL checkpoint, combined as its own processor does."""

    image_token = "<|image_pad|>"
    video_token = "<|video_pad|>"

    def __init__(
        self,
        image_processor: Any,
        tokenizer: PreTrainedTokenizerBase,
        chat_template: str | None,
        videos: VideoSettings | None = None,
    ) -> None:
        self.image_processor = image_processor
        self.tokenizer = tokenizer
        self.chat_template = chat_template
        self.videos = videos
        """None if it takes no videos."""

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True, **values: Any
    ) -> str:
        """The prompt as text, with one placeholder for each image or video.

        Args:
            values: what else the chat template reads.
        """
        rendered = self.tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            chat_template=self.chat_template,
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
            **values,
        )
        return str(rendered)

    def __call__(
        self,
        *,
        images: Sequence[Sequence["Image.Image"]] | None,
        text: str,
        return_tensors: str,
        add_special_tokens: bool = True,
        videos: Sequence[Clip] = (),
    ) -> dict[str, torch.Tensor]:
        """Model inputs of one prompt: one token id for each visual token, patches, and the modality of each token.

        Args:
            images: those of the one prompt, as a list in a list; None for none.
            videos: those of the one prompt.
        """
        vision: dict[str, torch.Tensor] = {}
        tokens: dict[str, list[str]] = {self.image_token: [], self.video_token: []}
        if images:
            vision = dict(self.image_processor(images=list(images[0]), return_tensors=return_tensors))
            counts = vision["image_grid_thw"].prod(-1) // self.image_processor.merge_size**2  # (images,)
            tokens[self.image_token] = [self.image_token * count for count in counts.tolist()]
        if videos and self.videos:
            videos = [clip.of_at_least(self.videos.temporal_patch_size) for clip in videos]
            vision |= self._video_inputs(videos, self.videos)
            grids = vision["video_grid_thw"].tolist()
            tokens[self.video_token] = [
                self._video_text(clip, grid, self.videos) for clip, grid in zip(videos, grids, strict=True)
            ]
        left = {token: iter(texts) for token, texts in tokens.items()}
        pattern = "|".join(map(re.escape, left))
        text = re.sub(pattern, lambda found: next(left[found[0]], found[0]), text)
        encoded = self.tokenizer(text, return_tensors=return_tensors, add_special_tokens=add_special_tokens)
        inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
        image_id, video_id = map(self.tokenizer.convert_tokens_to_ids, (self.image_token, self.video_token))
        kinds = (inputs["input_ids"] == image_id).int()
        if videos:
            kinds = kinds + VIDEO_TYPE * (inputs["input_ids"] == video_id).int()
        return inputs | {"mm_token_type_ids": kinds} | vision

    def _video_inputs(self, clips: Sequence[Clip], settings: VideoSettings) -> dict[str, torch.Tensor]:
        """Patches of all clips (patches, channels * times * side * side), and their grids (clips, 3)."""
        steps = settings.temporal_patch_size
        found = [self._patches(clip, settings) for clip in clips]
        inputs = {
            "pixel_values_videos": torch.cat([patches for patches, _ in found]),
            "video_grid_thw": torch.tensor([grid for _, grid in found]),
        }
        if settings.has_intervals:
            inputs["second_per_grid_ts"] = torch.tensor([steps / clip.sampled_fps for clip in clips])
        return inputs

    def _patches(self, clip: Clip, settings: VideoSettings) -> tuple[torch.Tensor, tuple[int, int, int]]:
        """Patches of a clip, each from `temporal_patch_size` frames, and its grid (times, height, width)."""
        steps, side = settings.temporal_patch_size, settings.patch_size
        height, width = settings.fitted(clip)
        frames = [frame.resize((width, height), settings.resample) for frame in clip.frames]
        frames += [frames[-1]] * (-len(frames) % steps)
        prepared = self.image_processor(
            images=frames,
            do_resize=False,
            patch_size=side,
            merge_size=settings.merge_size,
            temporal_patch_size=steps,
            image_mean=list(settings.image_mean),
            image_std=list(settings.image_std),
            return_tensors="pt",
        )
        # The image processor shows each frame at all times of a patch; of these, each frame keeps its own.
        values = prepared["pixel_values"].unflatten(0, (len(frames) // steps, steps, -1))
        values = values.unflatten(-1, (-1, steps, side * side))  # (times, steps, patches, channels, steps, pixels)
        own = torch.stack([values[:, step, :, :, step] for step in range(steps)], 3)
        return own.flatten(2).flatten(0, 1), (len(frames) // steps, height // side, width // side)

    def _video_text(self, clip: Clip, grid: Sequence[int], settings: VideoSettings) -> str:
        """What stands in the prompt for a clip: a token for each visual token, and times where the model reads them."""
        times, height, width = grid
        tokens = self.video_token * (height * width // settings.merge_size**2)
        if not settings.has_times:
            return tokens * times
        steps = settings.temporal_patch_size
        indices = [*clip.indices, *[clip.indices[-1]] * (-len(clip.indices) % steps)]
        middles = [(indices[at] + indices[at + steps - 1]) / 2 / clip.fps for at in range(0, len(indices), steps)]
        return "".join(f"<{middle:.1f} seconds><|vision_start|>{tokens}<|vision_end|>" for middle in middles)


_OPENAI = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def video_settings(model_type: str, stored: Mapping[str, Any]) -> VideoSettings | None:
    """How the own processor of this kind of checkpoint prepares videos; None if that is not known.

    Args:
        model_type: the config's.
        stored: the settings of its video processor, as its files hold them.
    """
    has_times = model_type in ("qwen3_vl", "qwen3_vl_moe")
    if not has_times and model_type not in ("qwen2_vl", "qwen2_5_vl"):
        return None
    if stored.get("cap_pixels_per_frame") or not all(stored.get(f"do_{name}", True) for name in ("resize", "rescale")):
        return None
    mean, std = _HALF if has_times else _OPENAI
    pixels = 32 * 32 if has_times else 28 * 28
    size = {"shortest_edge": 128 * pixels, "longest_edge": 768 * pixels} | dict(stored.get("size") or {})
    if not has_times:
        size["shortest_edge"] = stored.get("min_pixels") or size["shortest_edge"]
        size["longest_edge"] = stored.get("max_pixels") or size["longest_edge"]
    return VideoSettings(
        {name: int(size[name]) for name in ("shortest_edge", "longest_edge")},
        int(stored.get("patch_size") or (16 if has_times else 14)),
        int(stored.get("merge_size") or 2),
        int(stored.get("temporal_patch_size") or 2),
        tuple(stored.get("image_mean") or mean),
        tuple(stored.get("image_std") or std),
        int(stored.get("resample") or 3),
        has_times,
        model_type == "qwen2_5_vl",
    )
