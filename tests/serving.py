"""The server in a process of its own, what clients ask it, and what the same model answers in this process."""

import asyncio
import base64
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from halfv_core import Plan, Profile, apply
from halfv_core.models import LoadedModel
from probe.data.images import open_image

ROOT = Path(__file__).parents[1]
PROFILES = ROOT / "data_samples" / "profiles"
SCENES = ROOT / "data_samples" / "scenes" / "images"


class Server:
    """A running `halfv-probe serve`."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path, url: str) -> None:
        self.process = process
        self.url = url
        self._log = log

    @property
    def log(self) -> str:
        """What it has written to stderr."""
        return self._log.read_text(encoding="utf-8")

    def end(self, number: int) -> int:
        """Send a signal and wait; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def serving(log: Path, *arguments: str, model: str = "tiny-llava-next") -> Iterator[Server]:
    """Start the server on a free port, and kill it at the end if it still runs."""
    command = [sys.executable, "-m", "cli.main", "serve", model, "--port", "0", *arguments]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command, cwd=ROOT, stderr=stderr, stdout=stderr, text=True, preexec_fn=heeding_interrupts
        )
    try:
        for _ in range(6000):
            found = re.search(r"is served at (http://\S+:\d+)", log.read_text(encoding="utf-8"))
            if found or process.poll() is not None:
                break
            with_timeout(process, 0.1)
        assert found, log.read_text(encoding="utf-8")
        yield Server(process, log, found[1])
    finally:
        process.kill()
        process.wait()


@contextmanager
def serving_here(
    loaded: LoadedModel, plan: Profile | Plan | None = None, **options: Any
) -> Iterator[tuple[str, list[str]]]:
    """Serve a model in a thread of this process; yields the address, and the lines of the log as they come.

    Args:
        options: of `RequestOptions`.
    """
    import uvicorn

    from probe.serving.app import build_app
    from probe.serving.metrics import Metrics
    from probe.serving.prepare import RequestOptions
    from probe.serving.server import bound
    from probe.serving.service import Service

    lines: list[str] = []
    with closing(bound("127.0.0.1", 0)) as sock, apply(loaded.model, plan or Plan(())) as run:
        service = Service(loaded, run, RequestOptions(**options), Event())
        app = build_app(service, Metrics(loaded.name, "a plan"), 100, False, lines.append)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none"))
        thread = Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            while not server.started:
                thread.join(0.01)
            yield f"http://127.0.0.1:{sock.getsockname()[1]}", lines
        finally:
            server.should_exit = True
            thread.join()
            service.close()


def answered_by(service: Any, path: str, content: bytes, cors: bool = False, **headers: str) -> tuple[Any, list[str]]:
    """The answer of a `Service` in this process to one request, and the lines of the log."""
    import httpx

    from probe.serving.app import build_app
    from probe.serving.metrics import Metrics

    lines: list[str] = []
    app = build_app(service, Metrics(service.name, "a plan"), 4, cors, lines.append)

    async def request() -> Any:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.post(path, content=content, headers=headers)

    return asyncio.run(request()), lines


def heeding_interrupts() -> None:
    """Ctrl-C counts, though it be ignored where the tests run, as in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def with_timeout(process: "subprocess.Popen[str]", seconds: float) -> None:
    """Wait until the process ends, but no longer than this."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass


def data_url(path: Path, kind: str = "image/png") -> str:
    """A file as a data URL."""
    return f"data:{kind};base64," + base64.b64encode(path.read_bytes()).decode()


def chat(question: str, *scenes: str) -> list[dict[str, Any]]:
    """The messages of a chat completion about these scenes."""
    images = [{"type": "image_url", "image_url": {"url": data_url(SCENES / f"{scene}.png")}} for scene in scenes]
    return [{"role": "user", "content": [*images, {"type": "text", "text": question}]}]


def answers_here(loaded: LoadedModel, plan: Profile | Plan, asked: Sequence[tuple[str, ...]], length: int) -> list[str]:
    """What `apply` and `generate` answer to (question, scene, ...) in this process."""
    found = []
    with apply(loaded.model, plan):
        for question, *scenes in asked:
            images = [open_image(SCENES / f"{scene}.png") for scene in scenes]
            inputs = loaded.processor.prompt(images, question)
            ids = loaded.model.generate(**inputs, do_sample=False, max_new_tokens=length)
            found.append(loaded.processor.decode(ids[0, inputs["input_ids"].shape[1] :]))
    return found
