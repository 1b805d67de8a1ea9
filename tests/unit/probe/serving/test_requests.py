"""What requests may ask: fields that are taken, ignored and refused, and any JSON at all."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from halfv_core.errors import DataError
from probe.data.images import EmbeddedImage
from probe.serving.messages import MAX_IMAGES, conversation
from probe.serving.requests import ChatRequest, ResponseRequest, parsed

PIXEL = "data:image/png;base64,iVBORw0KGgo="
JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=8),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = some.sampled_from(
    [
        "role",
        "content",
        "type",
        "text",
        "image_url",
        "url",
        "user",
        "input_image",
        "system",
        "tool_calls",
        "function",
        "assistant",
    ]
)
NEARLY_RIGHT = some.recursive(
    some.text(max_size=3) | NAMES | some.just(PIXEL),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "auto"}}


def turn(*parts: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(parts)}


@pytest.mark.parametrize("kind", [ChatRequest, ResponseRequest])
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(conversations=JSON | NEARLY_RIGHT | some.lists(NEARLY_RIGHT, max_size=3), name=some.text(max_size=8), value=JSON)
def test_any_json_is_taken_or_refused_in_one_line(
    kind: type[ChatRequest | ResponseRequest], conversations: object, name: str, value: object
) -> None:
    field = "messages" if kind is ChatRequest else "input"
    for body in (conversations, {"model": "m", field: conversations}, {"model": "m", field: "Hi", name: value}):
        try:
            conversation(parsed(kind, body).messages_in_order, allow_urls=True)
        except DataError as error:
            assert "\n" not in str(error)


def test_images_keep_their_places_and_texts_are_parts() -> None:
    request = parsed(
        ChatRequest,
        {
            "model": "m",
            "messages": [
                {"role": "developer", "content": "Be brief."},
                turn({"type": "text", "text": "This"}, picture(PIXEL), {"type": "text", "text": "or this?"}),
            ],
        },
    )
    messages, images, _ = conversation(request.messages_in_order, allow_urls=False)
    assert messages == [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        turn({"type": "text", "text": "This"}, {"type": "image"}, {"type": "text", "text": "or this?"}),
    ]
    assert len(images) == 1


def test_a_response_has_its_instructions_in_front() -> None:
    request = parsed(ResponseRequest, {"model": "m", "input": "Hi", "instructions": "Be brief.", "store": False})
    assert [message.role for message in request.messages_in_order] == ["system", "user"]


def test_fields_that_ask_for_nothing_are_ignored() -> None:
    asked = {"model": "m", "messages": [turn()], "n": 1, "tools": [], "user": "me", "stream_options": {}, "stop": None}
    assert parsed(ChatRequest, asked).stop_texts == []
    with pytest.raises(DataError, match="a field is not served; got functions"):
        parsed(ChatRequest, asked | {"functions": [{"name": "look"}]})


def test_addresses_are_followed_only_where_allowed_and_read_anew_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [b"first", b"second"]
    monkeypatch.setattr("probe.serving.messages.fetch", lambda url: now.pop(0))
    request = parsed(ChatRequest, {"model": "m", "messages": [turn(picture("https://example.com/a.png"))]})
    with pytest.raises(DataError, match="--allow-urls"):
        conversation(request.messages_in_order, allow_urls=False)
    for expected in (b"first", b"second"):
        _, (image,), _ = conversation(request.messages_in_order, allow_urls=True)
        assert isinstance(image, EmbeddedImage)
        assert image.read() == expected


def test_too_many_images() -> None:
    request = parsed(ChatRequest, {"model": "m", "messages": [turn(*[picture(PIXEL)] * (MAX_IMAGES + 1))]})
    with pytest.raises(DataError, match="too many images in one request; expected at most 100"):
        conversation(request.messages_in_order, allow_urls=False)
