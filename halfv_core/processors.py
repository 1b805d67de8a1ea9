"""From images and a question to model inputs, with the checkpoint's own processor or, failing that, with its parts.

Some processors (Qwen2_5_VLProcessor, for example) cannot be constructed without torchvision, although their image
processor can. `halfv_core.composed_processor` then does the same work from the same files.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from pydantic import JsonValue
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.utils.import_utils import is_torchvision_available

from halfv_core.clips import Clip
from halfv_core.composed_processor import ComposedProcessor, VideoSettings, video_settings
from halfv_core.conversation import Conversation
from halfv_core.errors import DataError, HalfVError, ModelError, UnsupportedError
from halfv_core.failures import is_out_of_memory, reason_of
from halfv_core.image_limits import check_image_settings, check_video_settings
from halfv_core.interleaving import user_content

if TYPE_CHECKING:
    from PIL import Image


Inputs = dict[str, torch.Tensor]

_OF_TEMPLATES = {"messages", "add_generation_prompt", "documents", "raise_exception", "strftime_now"}
"""What transformers gives to every chat template."""


@dataclass(frozen=True)
class PromptProcessor:
    """The interface that the toolkit uses, whatever the checkpoint's processor is."""

    backend: Any
    """A transformers processor, or a `ComposedProcessor`."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The checkpoint's tokenizer."""
        return self.backend.tokenizer  # type: ignore[no-any-return]

    def image_limits(self) -> dict[str, JsonValue]:
        """Class, backend and size settings of the image processor, as JSON values."""
        settings = json.loads(self.backend.image_processor.to_json_string()) | {"backend": self.image_backend()}
        names = (
            "image_processor_type", "backend", "size", "crop_size", "patch_size", "merge_size", "min_pixels",
            "max_pixels",
        )  # fmt: skip
        return {name: settings[name] for name in names if settings.get(name) is not None}

    def image_backend(self) -> str | None:
        """What resizes images, `torchvision` or `pil`; None if the image processor does not say.

        transformers takes torchvision where it is installed. Both give the same number of visual tokens, and pixels
        that differ slightly.
        """
        return getattr(self.backend.image_processor, "backend", None)

    @cached_property
    def takes_videos(self) -> bool:
        """Whether it prepares videos as such; otherwise their frames are given to it as images."""
        token = getattr(self.backend, "video_token", None)
        own = self.backend.videos if isinstance(self.backend, ComposedProcessor) else None
        if not isinstance(token, str) or (own or getattr(self.backend, "video_processor", None)) is None:
            return False
        try:
            return token in self.rendered(0, "question", videos=1)
        except Exception:  # noqa: BLE001 - a template that knows no videos may do anything
            return False

    @cached_property
    def template_names(self) -> frozenset[str]:
        """What the chat template reads besides the messages, by name: switches, such as `enable_thinking`, and `tools`.

        Empty for a template that cannot be understood.
        """
        from jinja2 import Environment, TemplateError, meta

        environment = Environment(extensions=["jinja2.ext.loopcontrols"])  # noqa: S701 - nothing is rendered
        template = self.backend.chat_template
        text = str(template.get("default", "") if isinstance(template, dict) else template)
        try:
            # transformers' own tags mark which tokens a model was trained on
            tree = environment.parse(re.sub(r"{%-?\s*(end)?generation\s*-?%}", "", text))
        except TemplateError:
            return frozenset()
        return frozenset(
            meta.find_undeclared_variables(tree)
            - environment.globals.keys()
            - self.tokenizer.special_tokens_map.keys()
            - _OF_TEMPLATES
        )

    def as_taken(self, shown: Conversation) -> Conversation:
        """The conversation as the backend takes it: with the frames of videos as images, if it takes no videos.

        Nor do those take them beside images whose inputs have the same names for both (SmolVLM).
        """
        if not shown.videos:
            return shown
        names = [
            set(getattr(getattr(self.backend, part, None), "model_input_names", ()))
            for part in ("image_processor", "video_processor")
        ]
        if self.takes_videos and not (shown.images and names[0] & names[1]):
            return shown
        return shown.with_frames_as_images()

    def video_settings(self) -> str | None:
        """The settings of the video processor as text; None if it takes no videos."""
        if not self.takes_videos:
            return None
        if isinstance(self.backend, ComposedProcessor):
            return repr(self.backend.videos)
        return str(self.backend.video_processor.to_json_string())

    def prompt(
        self,
        images: Sequence["Image.Image"],
        question: str,
        device: torch.device | str = "cpu",
        videos: Sequence[Clip] = (),
    ) -> Inputs:
        """Model inputs of one user turn in the checkpoint's chat template.

        Images and then videos stand in front of the text, except for those that have an `IMAGE_PLACE` or `VIDEO_PLACE`
        in it: the last ones, in order. Some chat templates (LLaVA-1.5's) put all images in front themselves.

        Returns:
            Tensors on `device`, ready for `model(**inputs)`, batch of one; `input_ids` (1, N) has one id for each
            visual token.

        Raises:
            DataError: more places than images or videos, a question that spells a token that stands for them, or a
                checkpoint whose processor fails on them or this question, or would make too much of them.
        """
        content = user_content(len(images), question, len(videos))
        return self.conversation([{"role": "user", "content": content}], images, device, videos)

    def conversation(
        self,
        messages: Sequence[Mapping[str, Any]],
        images: Sequence["Image.Image"] = (),
        device: torch.device | str = "cpu",
        videos: Sequence[Clip] = (),
        values: Mapping[str, JsonValue] | None = None,
    ) -> Inputs:
        """Model inputs of a conversation in the checkpoint's chat template, up to where the next answer begins.

        Args:
            messages: each with a `role` and a `content`, a list of parts: `{"type": "text", "text": ...}`, or
                `{"type": "image"}` for the next one of `images`, or `{"type": "video"}` for that of `videos`.
            images: as many as there are such parts.
            videos: likewise; no other frames are taken from them. Their frames become images where `as_taken` says so.
            values: for names of `template_names`.

        Returns:
            As `prompt`.

        Raises:
            DataError: a text spells the token that stands for images, or the checkpoint's template or processor fails
                on these messages, images or videos, or would make too much of them.
        """
        values = dict(values or {})
        for text in [part["text"] for message in messages for part in message["content"] if part["type"] == "text"]:
            self._check_spelling(text)
        calls = [message["tool_calls"] for message in messages if "tool_calls" in message]
        self._check_spelling(json.dumps([values, calls], ensure_ascii=False))
        messages, images, videos = self.as_taken(Conversation(messages, images, videos))
        check_image_settings(self.backend, [image.size for image in images])
        for clip in videos:
            check_video_settings(self.backend, clip.frames[0].size, len(clip.frames))
        try:
            text = str(self.backend.apply_chat_template(list(messages), add_generation_prompt=True, **values))
            # As a processor's own `apply_chat_template` does it: a list in a list says that the images belong to one
            # prompt (LLaVA-OneVision cuts only single images into tiles), and what begins a text is not added twice.
            begun = bool(self.tokenizer.bos_token) and text.startswith(str(self.tokenizer.bos_token))
            options = {"add_special_tokens": False} if begun else {}
            options |= self._videos(videos) if videos else {}
            inputs = self.backend(images=[list(images)] if images else None, text=text, return_tensors="pt", **options)
        except Exception as error:
            if isinstance(error, HalfVError) or is_out_of_memory(error):
                raise
            raise DataError(f"the processor cannot prepare this prompt ({reason_of(error)})") from None
        return {name: value.to(device) for name, value in inputs.items() if isinstance(value, torch.Tensor)}

    def _videos(self, clips: Sequence[Clip]) -> dict[str, Any]:
        """Videos as arguments of the backend, which is told when their frames are shown, and to take all of them."""
        if isinstance(self.backend, ComposedProcessor):
            return {"videos": clips}
        least = getattr(self.backend.video_processor, "temporal_patch_size", 1)
        whole = [clip.of_at_least(least) for clip in clips]
        return {
            "videos": [list(clip.frames) for clip in whole],
            "video_metadata": [clip.metadata for clip in whole],
            "do_sample_frames": False,
        } | ({"cap_pixels_per_frame": False} if self._leaves_cap_open() else {})

    def _leaves_cap_open(self) -> bool:
        """Whether transformers would warn at length that it does what it did before, unless it is told to."""
        return getattr(self.backend.video_processor, "cap_pixels_per_frame", False) is None

    def rendered(self, images: int, question: str, videos: int = 0) -> str:
        """The text of one user turn in the chat template, with a placeholder for each image and video.

        Raises:
            DataError: more places than images or videos.
        """
        messages = [{"role": "user", "content": user_content(images, question, videos)}]
        return str(self.backend.apply_chat_template(messages, add_generation_prompt=True))

    def _check_spelling(self, question: str) -> None:
        """Raise DataError if a question spells a token that stands for images, which would be taken for one."""
        names = ("image_token", "boi_token", "eoi_token", "video_token", "context_image_token", "start_image_token")
        tokens = (getattr(owner, name, None) for owner in (self.backend, self.tokenizer) for name in names)
        for token in tokens:
            if isinstance(token, str) and token and token in question:
                raise DataError("the question spells a token that stands for images", got=token)

    def encode(self, answer: str, device: torch.device | str = "cpu") -> torch.Tensor:
        """(n,) token ids of an answer as it would follow a prompt, without special tokens."""
        encoded = self.tokenizer(answer, add_special_tokens=False, return_tensors="pt")
        return encoded["input_ids"][0].to(device)  # type: ignore[no-any-return]

    def decode(self, ids: torch.Tensor) -> str:
        """Text of (n,) generated token ids, without special tokens."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def words(self, ids: Sequence[int]) -> list[str]:
        """Text of each token by itself, with its spaces and special tokens."""
        return [str(self.tokenizer.decode([token])) for token in ids]


def load_processor(path: str, trust_remote_code: bool = False, offline: bool = False) -> PromptProcessor:
    """The processor of a checkpoint folder or hub id; with `offline`, nothing is requested from the hub.

    Raises:
        ModelError: the checkpoint has no processor files or no chat template, or they cannot be read.
    """
    options = {"trust_remote_code": trust_remote_code, "local_files_only": offline}
    backend: Any = None
    reason = "no class of processors"
    try:
        backend = AutoProcessor.from_pretrained(path, **options)
    except Exception as error:  # noqa: BLE001 - whatever the reason, its parts are tried next
        reason = reason_of(error)
    if not (hasattr(backend, "image_processor") and hasattr(backend, "tokenizer")):
        backend = _compose(path, options, reason)
    if not backend.chat_template:
        raise ModelError(f"{path} has no chat template", expected="chat_template.jinja or chat_template.json beside it")
    processor = PromptProcessor(backend)
    try:
        with_image, without = (processor.rendered(images, "question") for images in (1, 0))
    except Exception as error:
        raise ModelError(f"the chat template of {path} cannot be used ({reason_of(error)})") from None
    if with_image == without:
        raise ModelError(f"the chat template of {path} leaves images out", expected="a placeholder for each image")
    return processor


def _compose(path: str, options: dict[str, Any], reason: str) -> ComposedProcessor:
    """Combine the parts of a processor that could not be built for this reason."""
    try:
        image_processor = AutoImageProcessor.from_pretrained(path, **options)
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
        template = tokenizer.chat_template or ProcessorMixin.get_processor_dict(path)[0].get("chat_template")
    except Exception as error:
        missing = "torchvision" in str(error).lower() and not is_torchvision_available()  # transformers before 5.23
        raise ModelError(
            f"{path} has no processor that can be read ({reason_of(error)})",
            remedy="pip install torchvision" if missing else None,
        ) from None
    if not hasattr(image_processor, "merge_size"):
        remedy = None if is_torchvision_available() else "pip install torchvision, which many processors need"
        raise UnsupportedError(f"the processor of {path} cannot be built ({reason})", remedy=remedy)
    return ComposedProcessor(image_processor, tokenizer, template, _video_settings(path, options))


def _video_settings(path: str, options: dict[str, Any]) -> VideoSettings | None:
    """How the checkpoint's own processor prepares videos; None if that cannot be found out."""
    try:
        import transformers.models.qwen3_vl.video_processing_qwen3_vl  # noqa: F401 - not before 5.23, without torchvision
        from transformers.video_processing_utils import VideoProcessorMixin

        stored, _ = VideoProcessorMixin.get_video_processor_dict(path, local_files_only=options["local_files_only"])
        return video_settings(AutoConfig.from_pretrained(path, **options).model_type, stored)
    except Exception:  # noqa: BLE001 - files that say nothing of videos; transformers before 5.23
        return None
