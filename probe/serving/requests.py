"""What a request may ask: the fields of OpenAI's chat completions and responses that are served.

A field that would change the answer and is not served is refused; one that would not is ignored.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError

from halfv_core.errors import DataError, first_fault, shortened
from probe.data.download import fetch
from probe.data.images import EmbeddedImage, ImageSource, from_text

MAX_IMAGES = 100
"""Most images of one request."""

_IGNORED = {
    "metadata", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
    "service_tier", "store", "stream_options", "user", "verbosity",
}  # fmt: skip
"""Fields without a meaning for one model on one machine; the usage is part of every answer, as `stream_options` ask."""

_AS_IF_ABSENT: dict[str, tuple[object, ...]] = {
    "background": (False,),
    "frequency_penalty": (0,),
    "include": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "text": ({"format": {"type": "text"}},),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
}
"""Values of fields that are not served with which a field asks for nothing."""


class Text(BaseModel):
    """A part of a message that is text."""

    type: Literal["text", "input_text", "output_text"]
    text: str


class Address(BaseModel):
    """Where an image is: a data URL, or an http or https address."""

    url: str


class Picture(BaseModel):
    """A part of a message that is an image; responses write its address without the object around it."""

    type: Literal["image_url", "input_image"]
    image_url: Annotated[Address, BeforeValidator(lambda given: {"url": given} if isinstance(given, str) else given)]


def _as_parts(content: object) -> object:
    """A text as the one part of a message."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _kind(part: Any) -> str | None:
    kind = part.get("type") if isinstance(part, dict) else None
    return {"image_url": "image", "input_image": "image"}.get(kind, kind) if isinstance(kind, str) else None


Part = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[Text, Tag("input_text")]
    | Annotated[Text, Tag("output_text")]
    | Annotated[Picture, Tag("image")],
    Discriminator(
        _kind,
        custom_error_type="part",
        custom_error_message="a part of a message is of the type text, image_url, input_text or input_image",
    ),
]


class Message(BaseModel):
    """A turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[list[Part], BeforeValidator(_as_parts)]


class Request(BaseModel, ABC):
    """What both kinds of requests have in common."""

    model_config = ConfigDict(strict=True, extra="forbid")

    model: str
    stream: bool = False
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=0, lt=2**63)

    @property
    @abstractmethod
    def messages_in_order(self) -> Sequence[Message]:
        """The conversation, with the instructions in front."""

    @property
    @abstractmethod
    def longest_answer(self) -> int | None:
        """Tokens; None if the request sets no limit."""

    @property
    def stop_texts(self) -> list[str]:
        """Texts after which the answer ends."""
        return []


class ChatRequest(Request):
    """The body of a request for a chat completion."""

    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: Annotated[list[str], BeforeValidator(lambda given: [given] if isinstance(given, str) else given)] = []

    @property
    def messages_in_order(self) -> Sequence[Message]:
        return self.messages

    @property
    def longest_answer(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def stop_texts(self) -> list[str]:
        return [text for text in self.stop if text]


def _as_question(given: object) -> object:
    """A text as the one message of a conversation."""
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


class ResponseRequest(Request):
    """The body of a request for a response."""

    input: Annotated[list[Message], Field(min_length=1), BeforeValidator(_as_question)]
    instructions: str | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)

    @property
    def messages_in_order(self) -> Sequence[Message]:
        instructions = {"role": "system", "content": self.instructions}
        return [*([Message.model_validate(instructions)] if self.instructions else []), *self.input]

    @property
    def longest_answer(self) -> int | None:
        return self.max_output_tokens


Kind = TypeVar("Kind", bound=Request)


def parsed(kind: type[Kind], body: object) -> Kind:
    """The request in the body of a request, as JSON.

    Raises:
        DataError: a field is missing, wrong, or not served.
    """
    if not isinstance(body, dict):
        raise DataError("the body is no JSON object", got=type(body).__name__)
    asked = {
        name: value
        for name, value in body.items()
        if value is not None and name not in _IGNORED and value not in _AS_IF_ABSENT.get(name, ())
    }
    unknown = sorted(asked.keys() - kind.model_fields.keys())
    if unknown:
        got = shortened(f"{unknown[0]} {asked[unknown[0]]!r}", 100)
        served = ", ".join(kind.model_fields)
        raise DataError("a field is not served", got=got, expected=f"of {served}", remedy="leave it out")
    try:
        return kind.model_validate(asked)
    except ValidationError as error:
        raise DataError(first_fault(error)) from None


def conversation(messages: Sequence[Message], allow_urls: bool) -> tuple[list[dict[str, Any]], list[ImageSource]]:
    """Messages as chat templates take them, and their images in order.

    Args:
        messages: of the request.
        allow_urls: whether images may be downloaded.

    Raises:
        DataError: an image is not in a user's message, or is named by something else than a data URL or, if allowed, an
            address.
    """
    turns, images = [], []
    for message in messages:
        content: list[dict[str, Any]] = []
        for part in message.content:
            if isinstance(part, Text):
                content.append({"type": "text", "text": part.text})
                continue
            if message.role != "user":
                raise DataError("an image belongs into a message of the user", got=f"role {message.role}")
            content.append({"type": "image"})
            images.append(_image(part.image_url.url, allow_urls))
            if len(images) > MAX_IMAGES:
                raise DataError("too many images in one request", expected=f"at most {MAX_IMAGES}")
        turns.append({"role": "system" if message.role == "developer" else message.role, "content": content})
    return turns, images


def _image(url: str, allow_urls: bool) -> ImageSource:
    start = url[:11].lower()
    if start.startswith("data:image/"):
        return from_text(url, (), fetch=False)
    if allow_urls and start.startswith(("http://", "https://")):
        return EmbeddedImage(shortened(url, 200), partial(fetch, url))  # what is there now, not what was there once
    raise DataError(
        "this image is not read",
        got=shortened(url, 80),
        expected="a data URL, as data:image/png;base64,...",
        remedy="a server that was started with --allow-urls follows http and https addresses too",
    )
