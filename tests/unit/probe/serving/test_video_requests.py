"""Videos in requests, asked by OpenAI's client: answers are those of `generate --video`, and faults are one line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from halfv_core import Keep, Plan, apply
from halfv_core.models import LoadedModel, load_model
from probe.data.images import open_image
from probe.data.videos import video_at
from probe.trials.answers import greedy_answer
from tests.checkpoints import save_checkpoint
from tests.serving import SCENES, data_url, serving_here
from tests.unit.cli.test_data import call
from tests.video_files import write_video

openai = pytest.importorskip("openai")
pytest.importorskip("uvicorn")
pytest.importorskip("av")

PLAN = Plan([Keep(layer=1, keep_ratio=0.4)])
SCENE = SCENES / "heldout-000.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that takes videos, and a video of 20 frames."""
    root = tmp_path_factory.mktemp("videos")
    save_checkpoint("qwen3_vl", root / "qwen")
    write_video(root / "a.mp4")
    return root


@pytest.fixture(scope="module")
def loaded(folder: Path) -> LoadedModel:
    return load_model(str(folder / "qwen"), device="cpu")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Another model of the same checkpoint, since a model has one plan at a time."""
    with serving_here(load_model(str(folder / "qwen"), device="cpu"), PLAN, frames=4) as running:
        yield running


def video(url: str) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url}}


def client(url: str) -> Any:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120)


def ask(url: str, model: str, *parts: dict[str, Any], **options: Any) -> Any:
    messages = [{"role": "user", "content": [*parts, {"type": "text", "text": "w8 w9"}]}]
    request = {"model": model, "messages": messages, "max_tokens": 3, "temperature": 0} | options
    with client(url) as one:
        answer = one.chat.completions.create(**request)
        return list(answer) if request.get("stream") else answer


def test_answers_are_those_of_generate(
    folder: Path, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("generate", "--model", "./qwen", "--video", "a.mp4", "--frames", "6", "--prompt", "w8 w9", "--json")
    assert call(folder, monkeypatch, *words, "--max-new-tokens", "3", "--device", "cpu") == 0
    expected = json.loads(capfd.readouterr().out)["full"]["answer"]
    with serving_here(loaded, frames=6) as (url, lines):
        answer = ask(url, loaded.name, video(data_url(folder / "a.mp4", "video/mp4")))
    assert answer.choices[0].message.content.strip() == expected
    prompt = loaded.processor.prompt([], "w8 w9", videos=[video_at(folder / "a.mp4", 6).open()])
    assert answer.usage.prompt_tokens == prompt["input_ids"].shape[1]
    assert f"{prompt['input_ids'].shape[1]} tokens (" in lines[0]


def test_under_a_plan_beside_an_image_streamed_and_as_a_response(folder: Path, loaded: LoadedModel) -> None:
    files = data_url(SCENE), data_url(folder / "a.mp4", "video/mp4")
    parts = [{"type": "image_url", "image_url": {"url": files[0]}}, video(files[1])]
    inputs = loaded.processor.prompt([open_image(SCENE)], "w8 w9", videos=[video_at(folder / "a.mp4", 4).open()])
    with apply(loaded.model, PLAN) as run:
        expected = loaded.processor.decode(greedy_answer(loaded.model, inputs, 3))
        kept = len(run.kept[1][0])
    with serving_here(loaded, PLAN, frames=4) as (url, lines):
        assert ask(url, loaded.name, *parts).choices[0].message.content.strip() == expected
        chunks = ask(url, loaded.name, *parts, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).strip() == expected
        content = [
            {"type": "input_image", "image_url": files[0]},
            {"type": "video_url", "video_url": files[1]},
            {"type": "input_text", "text": "w8 w9"},
        ]
        request = {"model": loaded.name, "input": [{"role": "user", "content": content}], "max_output_tokens": 3}
        with client(url) as one:
            assert one.responses.create(**request, temperature=0).output_text.strip() == expected
    assert [f"{kept} kept)" in line for line in lines] == [True] * 3


WRONG = {
    "no video": ("data:video/mp4;base64,aGVsbG8=", "data URI is not a video that can be read"),
    "no base64": ("data:video/mp4;base64,@@@", "cannot read video data URI"),
    "an image": ("data:image/png;base64,aGVsbG8=", "this video is not read; got data:image/png"),
    "a file": ("/etc/passwd", "got /etc/passwd; expected a data URL, as data:video/mp4;base64,"),
    "an address": ("https://example.com/a.mp4", "a server that was started with --allow-urls"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_video_is_refused(loaded: LoadedModel, served: tuple[str, list[str]], name: str) -> None:
    url, line = WRONG[name]
    check_refused(served[0], loaded, line, video(url))


def test_damaged_large_long_and_many_videos_are_refused(
    folder: Path, loaded: LoadedModel, served: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = video(data_url(folder / "a.mp4", "video/mp4"))
    (folder / "half.mp4").write_bytes((folder / "a.mp4").read_bytes()[:500])
    check_refused(served[0], loaded, "not a video that can be read", video(data_url(folder / "half.mp4", "video/mp4")))
    check_refused(served[0], loaded, "too many videos in one request; expected at most 10", *[whole] * 11)
    messages = [{"role": "assistant", "content": [whole]}]
    check_refused(served[0], loaded, "videos belong into messages of the user", messages=messages)
    monkeypatch.setattr("probe.data.videos.MAX_SAMPLE_PIXELS", 10_000)
    check_refused(served[0], loaded, "are too large together; got 4 of 64 x 48 px; expected 10,000 px", whole)
    monkeypatch.undo()
    monkeypatch.setattr("probe.serving.prepare.MAX_DECODED_PIXELS", 10_000)
    check_refused(served[0], loaded, "takes too long to decode", whole)


def check_refused(url: str, loaded: LoadedModel, line: str, *parts: dict[str, Any], **options: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(url, loaded.name, *parts, **options)
    message = str(caught.value.body["message"])
    assert line in message
    assert len(message.splitlines()) == 1


def test_addresses_are_followed_where_that_is_allowed(
    folder: Path, loaded: LoadedModel, served: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ask(served[0], loaded.name, video(data_url(folder / "a.mp4", "video/mp4"))).choices[0].message.content
    with serving_here(loaded, PLAN, frames=4, allow_urls=True) as (url, _):
        check_refused(url, loaded, "is not a public address", video(f"{url}/a.mp4"))
        monkeypatch.setattr("probe.serving.messages.fetch", lambda address: (folder / "a.mp4").read_bytes())
        answer = ask(url, loaded.name, video("https://example.com/a.mp4"))
    assert answer.choices[0].message.content == expected
