"""`halfv-probe serve` as a process, asked by OpenAI's client: answers, wrong requests, and how it ends."""

import json
import re
import shlex
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from halfv_core import Plan, Profile
from halfv_core.models import LoadedModel, load_model
from tests.serving import PROFILES, ROOT, SCENES, Server, answers_here, chat, data_url, serving

openai = pytest.importorskip("openai")
pytest.importorskip("uvicorn")

MODEL = "tiny-llava-next"
PROFILE = PROFILES / f"{MODEL}.json"
ASKED = [
    ("Is there a purple square?", "heldout-000"),
    ("What color is the star?", "heldout-001"),
    ("What color is at the middle left?", "heldout-002"),
    ("Is there a red circle?", "heldout-001", "heldout-003"),
]
LENGTH = 8
LOOK = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]


@cache
def loaded() -> LoadedModel:
    return load_model(MODEL)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("serve") / "log", "--profile", str(PROFILE)) as running:
        yield running


def client(server: Server) -> Any:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120)


def ask(server: Server, asked: tuple[str, ...], **options: Any) -> str:
    question, *scenes = asked
    options = {"max_tokens": LENGTH, "model": MODEL, "messages": chat(question, *scenes)} | options
    with client(server) as one:
        return str(one.chat.completions.create(**options).choices[0].message.content).strip()


def get(server: Server, path: str) -> str:
    with urlopen(server.url + path, timeout=60) as response:
        return str(response.read().decode())


def metric(server: Server, name: str) -> float:
    return next(float(line.split()[-1]) for line in get(server, "/metrics").splitlines() if line.startswith(f"{name} "))


def test_answers_are_those_of_apply_also_of_four_clients_at_once(server: Server) -> None:
    expected = answers_here(loaded(), Profile.load(PROFILE), ASKED, LENGTH)
    assert [ask(server, asked) for asked in ASKED] == expected
    with ThreadPoolExecutor(4) as clients:
        assert list(clients.map(partial(ask, server), ASKED * 2)) == expected * 2


def test_a_stream_says_what_the_whole_answer_says(server: Server) -> None:
    request = {"model": MODEL, "messages": chat("Describe it.", "heldout-000"), "max_tokens": LENGTH}
    with client(server) as one:
        whole = one.chat.completions.create(**request)
        chunks = list(one.chat.completions.create(**request, stream=True))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert said == whole.choices[0].message.content != ""
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].usage == whole.usage
    assert (whole.usage.completion_tokens, chunks[0].model) == (LENGTH, MODEL) or whole.choices[
        0
    ].finish_reason == "stop"


def test_responses_and_their_streams(server: Server) -> None:
    question, scene = ASKED[0]
    image = {"type": "input_image", "image_url": chat("", scene)[0]["content"][0]["image_url"]["url"]}
    content = [image, {"type": "input_text", "text": question}]
    request = {"model": MODEL, "input": [{"role": "user", "content": content}], "max_output_tokens": LENGTH}
    with client(server) as one:
        whole = one.responses.create(**request).output_text
        events = list(one.responses.create(**request, stream=True))
    assert whole.strip() == ask(server, ASKED[0])
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole
    assert events[-1].type == "response.completed"


def test_a_conversation_has_all_of_its_turns(server: Server) -> None:
    """The last question cannot be answered without the first turn's image, nor from the text of the last turn."""
    turns = chat("Is there a purple square?", "heldout-000")
    turns += [{"role": "assistant", "content": "yes"}, *chat("What color is the star?", "heldout-001")]
    with client(server) as one:
        made = one.chat.completions.create(model=MODEL, messages=turns, max_tokens=2)
        first = one.chat.completions.create(model=MODEL, messages=turns[:1], max_tokens=2)
    assert made.usage.prompt_tokens > 2 * 259 > first.usage.prompt_tokens


def test_sampling_with_a_seed_is_the_same_beside_other_clients(server: Server) -> None:
    sampled = partial(ask, server, ("Describe it.", "heldout-000"), temperature=2, max_tokens=16)
    alone = sampled(seed=5)
    with ThreadPoolExecutor(4) as clients:
        together = list(clients.map(lambda seed: sampled(seed=seed), (5, 6, 5, 7)))
    assert together[0] == together[2] == alone
    assert len(set(together)) == 3


def test_an_answer_ends_where_the_request_says(server: Server) -> None:
    whole = ask(server, ("Hello",), max_tokens=12)
    last = whole.split()[1]
    assert ask(server, ("Hello",), max_tokens=12, stop=last).split() == whole.split()[: whole.split().index(last) + 1]


WRONG: dict[str, tuple[dict[str, Any], int, str]] = {
    "another model": ({"model": "gpt-4o"}, 404, "another model; got 'gpt-4o'; expected tiny-llava-next"),
    "no messages": ({"messages": []}, 400, "messages: List should have at least 1 item"),
    "a role": ({"messages": [{"role": "guest", "content": "x"}]}, 400, "messages.0.role: Input should be 'system'"),
    "audio": (
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
        400,
        "a part of a message is of the type text, image_url, video_url, input_text or input_image",
    ),
    "a file": ({"url": "/etc/passwd"}, 400, "this image is not read; got /etc/passwd; expected a data URL"),
    "a file's address": ({"url": "file:///etc/passwd"}, 400, "this image is not read; got file:///etc/passwd"),
    "an address": ({"url": "http://example.com/a.png"}, 400, "a server that was started with --allow-urls"),
    "no base64": ({"url": "data:image/png;base64,@@@"}, 400, "cannot read image data URI"),
    "no image": ({"url": "data:image/png;base64,aGVsbG8="}, 400, "data URI is not an image that can be read"),
    "half an image": ({"url": data_url(SCENES / "heldout-000.png")[:600]}, 400, "cannot decode image data URI"),
    "an image that the model gave": (
        {"messages": [chat("Hi", "heldout-000")[0] | {"role": "assistant"}]},
        400,
        "images belong into messages of the user; got role assistant",
    ),
    "a video": (
        {"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "data:video/mp4;,"}}]}]},
        400,
        "this model's processor takes no videos; send frames as images",
    ),
    "tools": ({"tools": LOOK}, 400, "this model's chat template knows no tools; leave out tools"),
    "a choice of tools": ({"tools": LOOK, "tool_choice": "required"}, 400, "a field is not served; got tool_choice"),
    "a spelled token": ({"messages": chat("What is <image>?")}, 400, "spells a token that stands for images"),
    "too long": ({"messages": chat("a b c d " * 2000)}, 400, "the conversation is too long for this model; got"),
    "too warm": ({"temperature": 3}, 400, "temperature: Input should be less than or equal to 2, got 3"),
    "no number": ({"max_tokens": "many"}, 400, "max_tokens: Input should be a valid integer"),
    "no tokens": ({"max_tokens": 0}, 400, "max_tokens: Input should be greater than or equal to 1"),
    "two answers": ({"n": 2}, 400, "a field is not served; got n 2"),
    "a format": ({"response_format": {"type": "json_object"}}, 400, "a field is not served; got response_format"),
    "settings of transformers": (
        {"extra_body": {"generation_config": '{"cache_implementation": "static"}'}},
        400,
        "a field is not served; got generation_config",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "stream"), [*((name, False) for name in WRONG), ("too long", True), ("a file", True)])
def test_a_wrong_request_is_one_line(server: Server, name: str, stream: bool) -> None:
    wrong, status, line = WRONG[name]
    request = {"model": MODEL, "messages": chat("Hi", "heldout-000"), "max_tokens": 2, "stream": stream} | wrong
    if "url" in request:
        image = {"type": "image_url", "image_url": {"url": request.pop("url")}}
        request["messages"] = [{"role": "user", "content": [image]}]
    with client(server) as one, pytest.raises(openai.APIStatusError) as caught:
        one.chat.completions.create(**request)
    error = caught.value.body
    assert caught.value.status_code == status
    assert line in error["message"]
    assert len(error["message"].splitlines()) == 1
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", b"{", 400),
        ("/v1/chat/completions", b"[]", 400),
        ("/v1/chat/completions", b'{"model": "tiny-llava-next"}', 400),
        ("/v1/responses", b'{"model": "tiny-llava-next", "input": 3}', 400),
        ("/v1/responses", b'{"model": "tiny-llava-next", "input": "Hi", "previous_response_id": "r"}', 400),
        ("/v1/completions", b"{}", 404),
        ("/load_model", b'{"model": "other"}', 404),
        ("/health", b"{}", 405),
    ],
)
def test_what_no_client_sends(server: Server, path: str, body: bytes, status: int) -> None:
    import httpx

    answer = httpx.post(server.url + path, content=body)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_metrics_and_the_log_say_what_the_plan_saved(server: Server) -> None:
    before, log = {name: metric(server, name) for name in ("halfv_answers_total", "halfv_flops_total")}, server.log
    full = metric(server, "halfv_flops_without_plan_total")
    ask(server, ASKED[0])
    assert metric(server, "halfv_answers_total") == before["halfv_answers_total"] + 1
    saved = metric(server, "halfv_flops_without_plan_total") - full
    assert 2.5 < saved / (metric(server, "halfv_flops_total") - before["halfv_flops_total"]) < 3.5
    assert "halfv_requests_in_progress 0" in get(server, "/metrics")
    line = server.log.removeprefix(log).strip()
    assert line.startswith("halfv-probe: 200 /v1/chat/completions in ")
    assert "(259 visual, 259 kept), 2 generated, 3.03x fewer FLOPs in the prefill, KV cache 1.00x smaller" in line


def test_the_model_can_be_listed_and_the_server_watched(server: Server) -> None:
    with client(server) as one:
        assert [model.id for model in one.models.list()] == [MODEL]
        assert one.models.retrieve(MODEL).id == MODEL
        with pytest.raises(openai.NotFoundError):
            one.models.retrieve("gpt-4o")
    assert json.loads(get(server, "/health")) == {"status": "ok"}
    assert json.loads(get(server, "/ready")) == {"status": "ready", "model": MODEL}


def test_a_client_that_leaves_does_not_keep_others_waiting(server: Server) -> None:
    with pytest.raises(openai.APITimeoutError), client(server).with_options(timeout=2) as one:
        one.chat.completions.create(model=MODEL, messages=chat("Hello"), max_tokens=2000)
    began = time.monotonic()
    ask(server, ASKED[0])
    assert time.monotonic() - began < 15, "2000 tokens take longer"
    assert "499 /v1/chat/completions in" in server.log


def test_what_the_page_says_and_a_stop_that_lets_an_answer_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command and the client of docs/serving.md; it is another plan than the one of the server before."""
    section = (ROOT / "docs" / "serving.md").read_text().partition("## An OpenAI-compatible server")[2]
    (command,) = re.findall(r"```sh\nhalfv-probe serve tiny-llava-next (.*?)\n```", section)
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    plan = Profile.load(PROFILE).best_at(4.0)
    assert plan is not None
    with serving(tmp_path / "log", *shlex.split(command), "--port", "0") as server:
        assert [ask(server, asked) for asked in ASKED] == answers_here(loaded(), plan.plan, ASKED, LENGTH)
        kept, visual = (metric(server, f"halfv_visual_tokens_{name}total") for name in ("kept_", ""))
        assert 0.3 < kept / visual < 0.6
        monkeypatch.chdir(ROOT)
        exec(compile(code.replace("http://127.0.0.1:8000", server.url), "serving.md", "exec"), {})  # noqa: S102 - ours
        whole, streamed = capsys.readouterr().out.splitlines()
        assert whole == streamed == ask(server, ("Is there a red circle?", "heldout-000"))
        with client(server) as one:
            stream = one.chat.completions.create(
                model=MODEL, messages=chat("Hello"), max_tokens=40, stream=True, temperature=0
            )
            chunks = [next(iter(stream))]
            server.process.send_signal(signal.SIGTERM)
            chunks += list(stream)
        assert chunks[-1].usage.completion_tokens == 40
        assert server.process.wait(60) == 128 + signal.SIGTERM
        assert server.log.endswith("halfv-probe: stopped by SIGTERM\n")
        assert "Traceback" not in server.log


def test_a_full_server_and_a_stop_that_does_not_wait(tmp_path: Path) -> None:
    """Without a plan; --grace 0 cuts off what is being answered."""
    options = ("--max-requests", "1", "--grace", "0", "--allow-urls", "--quiet")
    with serving(tmp_path / "log", *options) as server, ThreadPoolExecutor(1) as other:
        assert ask(server, ASKED[0]) == answers_here(loaded(), Plan(()), ASKED[:1], LENGTH)[0]
        local = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"{server.url}/a.png"}}]}]
        with pytest.raises(openai.BadRequestError, match="is not a public address"):
            ask(server, ("",), messages=local)
        long = other.submit(ask, server, ("Hello",), max_tokens=2000)
        while metric(server, "halfv_requests_in_progress") == 0:
            time.sleep(0.05)
        with pytest.raises(openai.RateLimitError, match="more than 1 requests at once"):
            ask(server, ASKED[0])
        with pytest.raises(OSError, match="503"):
            get(server, "/ready")
        assert server.end(signal.SIGINT) == 128 + signal.SIGINT
        with pytest.raises(openai.InternalServerError, match="the server is stopping"):
            long.result()
        lines = server.log.splitlines()
        assert lines[1:] == ["halfv-probe: stopped by SIGINT"]


@pytest.mark.slow
def test_compiled_decoding_answers_the_same(tmp_path: Path) -> None:
    """By a real compiler; its minutes are at start. The options beside it change nothing here."""
    options = ("--compile", "--frames", "4", "--default-seed", "3", "--log-level", "warning", "--reasoning", "auto")
    with serving(tmp_path / "log", "--profile", str(PROFILE), *options) as server:
        before = server.log
        assert re.search(r"halfv-probe: decoding was compiled in \d+ s\n", before)
        expected = answers_here(loaded(), Profile.load(PROFILE), ASKED, LENGTH)
        assert [ask(server, asked) for asked in ASKED] == expected
        assert all(float(seconds) < 20 for seconds in re.findall(r" in ([\d.]+) s: ", server.log.removeprefix(before)))


@pytest.mark.parametrize("count", [50, pytest.param(500, marks=pytest.mark.slow)])
def test_many_requests_without_an_error_and_in_flat_memory(server: Server, count: int) -> None:
    def one_of(number: int) -> str:
        return ask(server, ASKED[number % 3], max_tokens=2)

    with ThreadPoolExecutor(4) as clients:
        expected = list(clients.map(one_of, range(12)))[:3]  # also fills whatever is filled once
        before = resident(server)
        answers = list(clients.map(one_of, range(count)))
    assert answers == [expected[number % 3] for number in range(count)]
    assert resident(server) < before + 40_000_000


def resident(server: Server) -> int:
    """Bytes of memory that the server has."""
    import psutil

    return int(psutil.Process(server.process.pid).memory_info().rss)


def test_an_end_of_the_terminal_stops_it_too(server: Server) -> None:
    """The last test of this server."""
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        pytest.skip("ignored here, as under nohup")
    assert server.end(signal.SIGHUP) == 128 + signal.SIGHUP
    with pytest.raises(OSError):
        get(server, "/health")
