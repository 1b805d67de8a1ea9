"""vLLM's own server with a plan: four clients at once get what they get one by one under `apply()`."""

import base64
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from tests.vllm.checkpoints import checkpoint
from tests.vllm.running import ENVIRONMENT, MODELS, ROOT, Ask, asked, processor_of, with_apply

MODEL = "tiny-qwen2.5-vl"
PROFILE = MODELS.parent / "profiles" / f"{MODEL}.json"


@contextmanager
def serving(log: Path) -> Iterator[str]:
    """The address of a server, which is killed at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint(MODEL)),
        "--host", "127.0.0.1", "--port", str(port), "--enforce-eager", "--max-model-len", "1024", "--dtype", "float32",
        "--block-size", "32", "--kv-cache-memory-bytes", str(2**30),
        "--additional-config", json.dumps({"halfv_profile": str(PROFILE)}),
    ]  # fmt: skip
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | ENVIRONMENT, stdout=output, stderr=output)
    try:
        for _ in range(600):
            assert process.poll() is None, log.read_text(encoding="utf-8")[-6000:]
            try:
                urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except URLError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answer(address: str, ask: Ask) -> str:
    """What the chat endpoint says."""
    content: list[dict[str, Any]] = []
    for path in ask.images:
        data = base64.b64encode(Path(path).read_bytes()).decode()
        content.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}})
    content.append({"type": "text", "text": ask.question})
    body = {
        "model": str(checkpoint(MODEL)), "messages": [{"role": "user", "content": content}],
        "temperature": 0, "max_tokens": 6, "min_tokens": 6,
    }  # fmt: skip
    headers = {"Content-Type": "application/json"}
    with urlopen(Request(f"{address}/v1/chat/completions", json.dumps(body).encode(), headers), timeout=120) as reply:
        text: str = json.load(reply)["choices"][0]["message"]["content"]
    return text


def test_four_clients_at_once(tmp_path: Path) -> None:
    asks = asked(12)
    expected = with_apply(MODEL, PROFILE, asks)
    words = [processor_of(MODEL).decode(one.answer, skip_special_tokens=True).strip() for one in expected]
    with serving(tmp_path / "log") as address, ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(lambda ask: answer(address, ask), asks))
    assert [each.strip() for each in answers] == words
    assert "The decoder runs under a plan: layer 1: keep 0.5 of the visual tokens by v2drop; layers 5-11" in (
        tmp_path / "log"
    ).read_text(encoding="utf-8")
