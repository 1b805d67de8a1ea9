"""What a request may ask: the fields of OpenAI's chat completions and responses that are served.

A field that would change the answer and is not served is refused; one that would not is ignored.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

from halfv_core.errors import DataError, first_fault, shortened
from probe.serving.messages import Message, as_messages

_IGNORED = {
    "metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
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
    "parallel_tool_calls": (True,),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "text": ({"format": {"type": "text"}},),
    "tool_choice": ("none", "auto"),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
}
"""Values of fields that are not served with which a field asks for nothing."""


class Definition(BaseModel):
    """What a tool is called, what it does, and what it takes."""

    model_config = ConfigDict(extra="allow")

    name: str


class Tool(BaseModel):
    """A function that the client runs if an answer calls it."""

    type: Literal["function"]
    function: Definition


def _as_tool(given: object) -> object:
    """A tool without the object around its definition, as responses write it."""
    if not isinstance(given, dict) or "function" in given:
        return given
    return {"type": given.get("type"), "function": {name: value for name, value in given.items() if name != "type"}}


class Request(BaseModel, ABC):
    """What both kinds of requests have in common."""

    model_config = ConfigDict(strict=True, extra="forbid")

    model: str
    stream: bool = False
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    chat_template_kwargs: dict[str, JsonValue] = {}
    tools: list[Annotated[Tool, BeforeValidator(_as_tool)]] = []

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

    @property
    def callable_tools(self) -> list[dict[str, Any]]:
        """The tools as chat templates take them."""
        return [tool.model_dump(exclude_unset=True) for tool in self.tools]


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


class ResponseRequest(Request):
    """The body of a request for a response."""

    input: Annotated[list[Message], Field(min_length=1), BeforeValidator(as_messages)]
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
    if body.get("tool_choice") == "none":
        asked.pop("tools", None)
    unknown = sorted(asked.keys() - kind.model_fields.keys())
    if unknown:
        got = shortened(f"{unknown[0]} {asked[unknown[0]]!r}", 100)
        served = ", ".join(kind.model_fields)
        raise DataError("a field is not served", got=got, expected=f"of {served}", remedy="leave it out")
    try:
        return kind.model_validate(asked)
    except ValidationError as error:
        raise DataError(first_fault(error)) from None
