"""Compiles decoding before the first request, which need not wait for it then; what fails is said at start."""

import base64
import time
from io import BytesIO
from typing import Any

from PIL import Image

from halfv_core.errors import HalfVError, UnsupportedError
from halfv_core.failures import reason_of
from probe.serving.requests import ChatRequest, parsed
from probe.serving.service import Service


def compile_decoding(service: Service) -> float:
    """Answer some prompts, and return the seconds that it took.

    A prompt with an image and one without have a graph each, and one of another length makes lengths symbols in them.

    Raises:
        UnsupportedError: the model or the plan cannot be run with a static cache, or not compiled.
    """
    from torch._dynamo.utils import counters  # seconds to import

    began, graphs = time.monotonic(), counters["stats"]["unique_graphs"]
    try:
        for images, new_tokens in ((1, 4), (1, 8), (0, 4), (0, 8)):
            service.answer_now(_request(service.name, images), new_tokens)
    except Exception as error:  # noqa: BLE001 - a compiler can fail in any way
        cause = getattr(error, "inner_exception", error)  # torch wraps what its compiler raises
        reason = str(cause) if isinstance(cause, HalfVError) else reason_of(cause)
        raise UnsupportedError(f"decoding cannot be compiled ({reason})", remedy=_REMEDY) from None
    if counters["stats"]["unique_graphs"] == graphs:
        raise UnsupportedError(
            "nothing of decoding can be compiled with this model and plan", remedy=f"{_REMEDY}; see docs/limits.md"
        )
    return time.monotonic() - began


_REMEDY = "leave out --compile"


def _request(model: str, images: int) -> ChatRequest:
    file = BytesIO()
    Image.new("RGB", (256, 256), "gray").save(file, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}}] * images
    messages = [{"role": "user", "content": [*parts, {"type": "text", "text": "What is this?"}]}]
    return parsed(ChatRequest, {"model": model, "messages": messages, "temperature": 0})
