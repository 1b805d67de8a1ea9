"""From images and a question to model inputs, with the checkpoint's own processor or, failing that, with its parts.

Some processors (Qwen2_5_VLProcessor, for example) cannot be constructed without torchvision, although their image
processor can. `ComposedProcessor` then does the same work from the same files. Both give identical inputs, but for the
rounding of resized pixels, which torchvision does differently from Pillow.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from pydantic import JsonValue
from transformers import (
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.utils.import_utils import is_torchvision_available

from halfv_core.errors import DataError, HalfVError, ModelError, UnsupportedError
from halfv_core.failures import is_out_of_memory, reason_of
from halfv_core.image_limits import check_image_settings
from halfv_core.interleaving import user_content

if TYPE_CHECKING:
    from PIL import Image

Inputs = dict[str, torch.Tensor]


class ComposedProcessor:
    """Image processor, tokenizer and chat template of a Qwen-VL checkpoint, combined as its own processor does."""

    image_token = "<|image_pad|>"
    video_token = "<|video_pad|>"

    def __init__(self, image_processor: Any, tokenizer: PreTrainedTokenizerBase, chat_template: str | None) -> None:
        self.image_processor = image_processor
        self.tokenizer = tokenizer
        self.chat_template = chat_template

    def apply_chat_template(self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True) -> str:
        """The prompt as text, with one placeholder for each image."""
        rendered = self.tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            chat_template=self.chat_template,
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
        )
        return str(rendered)

    def __call__(
        self,
        *,
        images: Sequence[Sequence["Image.Image"]] | None,
        text: str,
        return_tensors: str,
        add_special_tokens: bool = True,
    ) -> Inputs:
        """Model inputs of one prompt: one token id for each visual token, patches, and the modality of each token.

        Args:
            images: those of the one prompt, as a list in a list; None for none.
        """
        vision: dict[str, torch.Tensor] = {}
        if images:
            vision = dict(self.image_processor(images=list(images[0]), return_tensors=return_tensors))
            grids = vision["image_grid_thw"]  # (images, 3)
            tokens = (grids.prod(-1) // self.image_processor.merge_size**2).tolist()
            pieces = text.split(self.image_token)
            filled = [piece + self.image_token * count for piece, count in zip(pieces, tokens, strict=False)]
            text = "".join(filled) + pieces[-1]
        encoded = self.tokenizer(text, return_tensors=return_tensors, add_special_tokens=add_special_tokens)
        inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
        image_id = self.tokenizer.convert_tokens_to_ids(self.image_token)
        return inputs | {"mm_token_type_ids": (inputs["input_ids"] == image_id).int()} | vision


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

    def prompt(self, images: Sequence["Image.Image"], question: str, device: torch.device | str = "cpu") -> Inputs:
        """Model inputs of one user turn in the checkpoint's chat template.

        Images stand in front of the text, except for those that have an `IMAGE_PLACE` in it: the last images, in order.
        Some chat templates (LLaVA-1.5's) put all images in front themselves.

        Returns:
            Tensors on `device`, ready for `model(**inputs)`, batch of one; `input_ids` (1, N) has one id for each
            visual token.

        Raises:
            DataError: more places than images, a question that spells the token that stands for images, or a
                checkpoint whose processor fails on these images or this question, or would make too much of them.
        """
        return self.conversation([{"role": "user", "content": user_content(len(images), question)}], images, device)

    def conversation(
        self,
        messages: Sequence[Mapping[str, Any]],
        images: Sequence["Image.Image"] = (),
        device: torch.device | str = "cpu",
    ) -> Inputs:
        """Model inputs of a conversation in the checkpoint's chat template, up to where the next answer begins.

        Args:
            messages: each with a `role` and a `content`, a list of parts: `{"type": "text", "text": ...}`, or
                `{"type": "image"}` for the next one of `images`.
            images: as many as there are such parts.

        Returns:
            As `prompt`.

        Raises:
            DataError: a text spells the token that stands for images, or the checkpoint's template or processor fails
                on these messages or images, or would make too much of them.
        """
        for text in [part["text"] for message in messages for part in message["content"] if part["type"] == "text"]:
            self._check_spelling(text)
        check_image_settings(self.backend, [image.size for image in images])
        try:
            text = str(self.backend.apply_chat_template(list(messages), add_generation_prompt=True))
            # As a processor's own `apply_chat_template` does it: a list in a list says that the images belong to one
            # prompt (LLaVA-OneVision cuts only single images into tiles), and what begins a text is not added twice.
            begun = bool(self.tokenizer.bos_token) and text.startswith(str(self.tokenizer.bos_token))
            options = {"add_special_tokens": False} if begun else {}
            inputs = self.backend(images=[list(images)] if images else None, text=text, return_tensors="pt", **options)
        except Exception as error:
            if isinstance(error, HalfVError) or is_out_of_memory(error):
                raise
            raise DataError(f"the processor cannot prepare this prompt ({reason_of(error)})") from None
        return {name: value.to(device) for name, value in inputs.items() if isinstance(value, torch.Tensor)}

    def rendered(self, images: int, question: str) -> str:
        """The text of one user turn in the chat template, with a placeholder for each image.

        Raises:
            DataError: more places than images.
        """
        messages = [{"role": "user", "content": user_content(images, question)}]
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
    return ComposedProcessor(image_processor, tokenizer, template)
