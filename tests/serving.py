"""The server in a process of its own, what clients ask it, and what the same model answers in this process."""

import base64
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
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
        for _ in range(1200):
            found = re.search(r"is served at (http://\S+:\d+)", log.read_text(encoding="utf-8"))
            if found or process.poll() is not None:
                break
            with_timeout(process, 0.1)
        assert found, log.read_text(encoding="utf-8")
        yield Server(process, log, found[1])
    finally:
        process.kill()
        process.wait()


def heeding_interrupts() -> None:
    """Ctrl-C counts, though it be ignored where the tests run, as in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def with_timeout(process: "subprocess.Popen[str]", seconds: float) -> None:
    """Wait until the process ends, but no longer than this."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass


def data_url(path: Path) -> str:
    """An image file as a data URL."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


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
