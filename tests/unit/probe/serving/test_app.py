"""Faults while a request is answered, with the real application in this process: the client gets one line."""

import json
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
import torch

from halfv_core import Profile, apply
from halfv_core.errors import UnsupportedError
from halfv_core.models import LoadedModel, load_model
from tests.serving import PROFILES, answered_by, answers_here, chat

pytest.importorskip("httpx")
pytest.importorskip("openai")
pytest.importorskip("uvicorn")

from probe.serving import service  # noqa: E402
from probe.serving.prepare import RequestOptions, check_servable  # noqa: E402
from probe.serving.service import MAX_BODY, Service  # noqa: E402

MODEL = "tiny-llava"


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model(MODEL)


def profile_of(loaded: LoadedModel) -> Profile:
    return Profile.load(PROFILES / f"{loaded.name}.json")


def asked(loaded: LoadedModel, path: str, content: bytes, cors: bool = False, **headers: str) -> tuple[Any, list[str]]:
    """The answer to one request, and the lines of the log."""
    with apply(loaded.model, profile_of(loaded)) as run:
        service = Service(loaded, run, RequestOptions(), Event())
        found = answered_by(service, path, content, cors, **headers)
        service.close()
    return found


def body(stream: bool, **more: Any) -> bytes:
    return json.dumps({"model": MODEL, "stream": stream} | more).encode()


def test_a_model_whose_answers_transformers_would_parse() -> None:
    """It takes the prompt of this checkpoint for a part of the answer. Its processor is made of parts here."""
    qwen, question = load_model("tiny-qwen2.5-vl"), ("What color is the star?", "heldout-001")
    (expected,) = answers_here(qwen, profile_of(qwen), [question], 8)
    request = {"model": qwen.name, "messages": chat(*question), "max_tokens": 8}
    whole, _ = asked(qwen, "/v1/chat/completions", json.dumps(request).encode())
    stream, _ = asked(qwen, "/v1/chat/completions", json.dumps(request | {"stream": True}).encode())
    *events, end = [line.removeprefix("data: ") for line in stream.text.splitlines() if line]
    said = [json.loads(event)["choices"][0]["delta"].get("content", "") for event in events]
    assert whole.json()["choices"][0]["message"]["content"] == "".join(said) == expected
    assert end == "[DONE]"


def failing_at(step: int, error: Exception, after: Event | None = None) -> Callable[..., None]:
    """A hook that raises when the model runs for the `step`-th time, counted from 1, and not before an event."""
    calls = iter(range(1, 1000))

    def hook(*_: Any) -> None:
        if next(calls) == step:
            assert after is None or after.wait(30)
            raise error

    return hook


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UnsupportedError('no "such" \\ thing'), 400, 'no "such" \\ thing'),
        (RuntimeError("CUDA error: out of memory"), 500, "out of memory (RuntimeError: CUDA error: out of memory)"),
        (IndexError("list index\nout of range"), 500, "the model or its processor failed (IndexError: list index)"),
    ],
)
def test_a_model_that_fails_at_the_prompt(
    loaded: LoadedModel, error: Exception, status: int, line: str, stream: bool
) -> None:
    handle = loaded.model.lm_head.register_forward_pre_hook(failing_at(1, error))
    try:
        answer, lines = asked(loaded, "/v1/chat/completions", body(stream, messages=chat("Hi", "heldout-000")))
    finally:
        handle.remove()
    assert answer.status_code == status
    message = answer.json()["error"]["message"]
    assert message.startswith(line)
    assert lines[0].startswith(f"{status} /v1/chat/completions in ")
    assert lines[0].endswith(message)


@pytest.mark.parametrize(
    ("path", "request_field"),
    [("/v1/chat/completions", {"messages": chat("Hello")}), ("/v1/responses", {"input": "Hello"})],
)
def test_a_model_that_fails_in_the_middle_of_a_stream(
    loaded: LoadedModel, path: str, request_field: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, stream = Event(), service._stream

    def streaming(*arguments: Any) -> Any:
        begun.set()
        return stream(*arguments)

    monkeypatch.setattr(service, "_stream", streaming)
    failing = failing_at(4, UnsupportedError('no "such" \\ thing'), begun)
    handle = loaded.model.lm_head.register_forward_pre_hook(failing)
    try:
        answer, lines = asked(loaded, path, body(True, **request_field))
    finally:
        handle.remove()
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
    assert answer.status_code == 200
    if path == "/v1/responses":
        assert events[-1]["type"] == "response.failed"
        assert events[-1]["response"]["error"]["message"] == "no 'such' / thing"
    else:
        assert events[-1]["error"]["message"] == 'no "such" \\ thing'
        assert events[-1]["error"]["type"] == "invalid_request_error"
    assert lines[0].endswith('no "such" \\ thing')


def test_a_fault_of_the_server_is_one_line_for_the_client_and_a_traceback_for_its_log(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("probe.serving.service.prepare", failing_at(1, KeyError("secret")))
    answer, _ = asked(loaded, "/v1/chat/completions", body(False, messages=chat("Hello")))
    assert answer.status_code == 500
    assert answer.json()["error"] == {
        "message": "the server failed (KeyError: 'secret')", "type": "server_error", "param": None, "code": None,
    }  # fmt: skip
    assert "Traceback" in capsys.readouterr().err


def test_a_body_that_is_too_large(loaded: LoadedModel) -> None:
    answer, _ = asked(loaded, "/v1/chat/completions", b" " * (MAX_BODY + 1))
    assert answer.status_code == 413


def test_pages_of_other_origins_may_ask_if_allowed(loaded: LoadedModel) -> None:
    for allowed in (True, False):
        answer, _ = asked(loaded, "/v1/chat/completions", b"{}", cors=allowed, origin="http://page")
        assert ("access-control-allow-origin" in answer.headers) is allowed


@pytest.mark.parametrize(
    ("name", "value"), [("cache_implementation", "static"), ("num_beams", 2), ("prompt_lookup_num_tokens", 3)]
)
def test_settings_of_a_checkpoint_that_cannot_be_served(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    check_servable(loaded.model)
    monkeypatch.setattr(loaded.model.generation_config, name, value)
    with pytest.raises(UnsupportedError, match=f"a setting of the checkpoint cannot be served; got {name}={value}"):
        check_servable(loaded.model)


def test_a_conversation_is_prepared_as_a_prompt_is(loaded: LoadedModel) -> None:
    one_turn = loaded.processor.conversation([{"role": "user", "content": [{"type": "text", "text": "Hello"}]}])
    prompt = loaded.processor.prompt([], "Hello")
    assert prompt.keys() == one_turn.keys()
    assert all(torch.equal(prompt[name], one_turn[name]) for name in prompt)
