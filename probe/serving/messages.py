"""The messages of a request: their parts, and what they show."""

import json
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, Discriminator, JsonValue, Tag, model_validator

from halfv_core.errors import DataError, shortened
from probe.data.download import fetch
from probe.data.images import EmbeddedImage, from_data_url

MAX_IMAGES = 100
"""Most images of one request."""

MAX_VIDEOS = 10
"""Most videos of one request."""


class Text(BaseModel):
    """A part of a message that is text."""

    type: Literal["text", "input_text", "output_text"]
    text: str


class Address(BaseModel):
    """Where an image or a video is: a data URL, or an http or https address."""

    url: str


def _as_address(given: object) -> object:
    """What stands for an address without the object around it, as responses write it."""
    return {"url": given} if isinstance(given, str) else given


def _as_object(given: object) -> object:
    """JSON text as what it says."""
    return json.loads(given) if isinstance(given, str) else given


class Picture(BaseModel):
    """A part of a message that is an image."""

    type: Literal["image_url", "input_image"]
    image_url: Annotated[Address, BeforeValidator(_as_address)]

    @property
    def url(self) -> str:
        """Where it is."""
        return self.image_url.url


class Video(BaseModel):
    """A part of a message that is a video, as `transformers serve` takes it; OpenAI's API has none."""

    type: Literal["video_url"]
    video_url: Annotated[Address, BeforeValidator(_as_address)]

    @property
    def url(self) -> str:
        """Where it is."""
        return self.video_url.url


class Function(BaseModel):
    """What an answer has called."""

    name: str
    arguments: Annotated[dict[str, JsonValue], BeforeValidator(_as_object)]


class Call(BaseModel):
    """A call of a tool in an earlier answer."""

    id: str | None = None
    function: Function


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
    | Annotated[Picture, Tag("image")]
    | Annotated[Video, Tag("video_url")],
    Discriminator(
        _kind,
        custom_error_type="part",
        custom_error_message="a part of a message is of the type text, image_url, video_url, input_text or input_image",
    ),
]


class Message(BaseModel):
    """A turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[list[Part], BeforeValidator(_as_parts)]
    tool_calls: list[Call] = []
    tool_call_id: str | None = None
    reasoning_content: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_clients_send_answers_back(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        said = {name: value for name, value in given.items() if value is not None}
        return {"content": []} | said if said.get("tool_calls") else said

    @property
    def is_about_tools(self) -> bool:
        """Whether it calls tools, or says what one has returned."""
        return bool(self.tool_calls) or self.role == "tool"

    def as_turn(self, content: list[dict[str, Any]]) -> dict[str, Any]:
        """The message as chat templates take it, with its parts as they take them."""
        turn = self.model_dump(include={"tool_calls", "tool_call_id", "reasoning_content"}, exclude_defaults=True)
        for call in turn.get("tool_calls", ()):
            call["type"] = "function"
        return {"role": "system" if self.role == "developer" else self.role, "content": content} | turn


def as_messages(given: object) -> object:
    """The input of a response as messages: a text, or messages with calls of tools and what they returned between."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list):
        return given
    messages: list[Any] = []
    thought = None
    for item in given:
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "reasoning":
            thought = "".join(str(part.get("text", "")) for part in item.get("content") or () if isinstance(part, dict))
            continue
        if kind == "function_call":
            call = {"id": item.get("call_id"), "function": item}
            if messages and isinstance(messages[-1], dict) and messages[-1].get("role") == "assistant":
                messages[-1] = messages[-1] | {"tool_calls": [*messages[-1].get("tool_calls", ()), call]}
                continue
            item = {"role": "assistant", "tool_calls": [call]}
        elif kind == "function_call_output":
            item = {"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}
        if thought and isinstance(item, dict) and item.get("role") == "assistant":
            item, thought = item | {"reasoning_content": thought}, None
        messages.append(item)
    return messages


class Shown(NamedTuple):
    """Messages as chat templates take them, and the files that they show, each kind in order."""

    messages: list[dict[str, Any]]
    images: list[EmbeddedImage]
    videos: list[EmbeddedImage]


def conversation(messages: Sequence[Message], allow_urls: bool) -> Shown:
    """What a request's messages say and show; no file is read yet.

    Args:
        messages: of the request.
        allow_urls: whether images and videos may be downloaded.

    Raises:
        DataError: an image or a video is not in a user's message, or is named by something else than a data URL or, if
            allowed, an address, or there are too many.
    """
    shown = Shown([], [], [])
    for message in messages:
        content: list[dict[str, Any]] = []
        for part in message.content:
            if isinstance(part, Text):
                content.append({"type": "text", "text": part.text})
                continue
            what, files = ("image", shown.images) if isinstance(part, Picture) else ("video", shown.videos)
            if message.role != "user":
                raise DataError(f"{what}s belong into messages of the user", got=f"role {message.role}")
            content.append({"type": what})
            files.append(_file(what, part.url, allow_urls))
        shown.messages.append(message.as_turn(content))
    for what, count, most in (("images", len(shown.images), MAX_IMAGES), ("videos", len(shown.videos), MAX_VIDEOS)):
        if count > most:
            raise DataError(f"too many {what} in one request", expected=f"at most {most}")
    return shown


_STARTS = {"image": ("data:image/",), "video": ("data:video/", "data:image/gif")}
_EXAMPLES = {"image": "data:image/png;base64,...", "video": "data:video/mp4;base64,..."}


def _file(what: str, url: str, allow_urls: bool) -> EmbeddedImage:
    start = url[:14].lower()
    if start.startswith(_STARTS[what]):
        return from_data_url(url)
    if allow_urls and start.startswith(("http://", "https://")):
        return EmbeddedImage(shortened(url, 200), partial(fetch, url))  # what is there now, not what was there once
    raise DataError(
        f"this {what} is not read",
        got=shortened(url, 80),
        expected=f"a data URL, as {_EXAMPLES[what]}",
        remedy="a server that was started with --allow-urls follows http and https addresses too",
    )
