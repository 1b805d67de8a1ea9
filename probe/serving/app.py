"""The HTTP side of the server: its paths, how many requests it takes at once, and what it notes of each."""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from probe.serving.failures import Failure
from probe.serving.metrics import Metrics
from probe.serving.service import ENDPOINTS, Entry, Service


def build_app(
    service: Service, metrics: Metrics, max_requests: int, enable_cors: bool, log: Callable[[str], None]
) -> Starlette:
    """The application, for uvicorn.

    Args:
        service: answers the requests.
        metrics: count them.
        max_requests: how many wait or are answered at once; further ones get status 429.
        enable_cors: whether pages of any origin may ask.
        log: gets one line for each request to `ENDPOINTS`.
    """

    def model(request: Request) -> Response:
        if request.path_params["name"] != service.name:
            raise HTTPException(404, "there is no such model here")
        return JSONResponse(_model(service.name))

    def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [_model(service.name)]})

    def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    def ready(_: Request) -> Response:
        if metrics.in_progress >= max_requests:
            return JSONResponse({"status": "busy"}, 503)
        return JSONResponse({"status": "ready", "model": service.name})

    def show_metrics(_: Request) -> Response:
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4")

    def refused(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        line = error.detail if isinstance(error, HTTPException) else "the server failed"
        return JSONResponse(Failure(status, line).body(), status)

    cors = Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
    return Starlette(
        routes=[
            *(Route(path, service.answer, methods=["POST"]) for path in ENDPOINTS),
            Route("/v1/models", models),
            Route("/v1/models/{name:path}", model),
            Route("/health", health),
            Route("/ready", ready),
            Route("/metrics", show_metrics),
        ],
        middleware=[
            *([cors] if enable_cors else []),
            Middleware(_Watched, metrics=metrics, max_requests=max_requests, log=log),
        ],
        exception_handlers={HTTPException: refused},
    )


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "halfv-probe"}


class _Watched:
    """Counts and logs the requests to `ENDPOINTS`, from their first byte to the last one of their answers."""

    def __init__(self, app: Any, metrics: Metrics, max_requests: int, log: Callable[[str], None]) -> None:
        self._app = app
        self._metrics = metrics
        self._max_requests = max_requests
        self._log = log

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle one request, as ASGI asks for it."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in ENDPOINTS:
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 499  # if there is no answer at all
        entry = scope.setdefault("state", {})["entry"] = Entry(uuid4().hex)

        async def sending(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", entry.id.encode())]
            await send(message)

        self._metrics.in_progress += 1
        try:
            if self._metrics.in_progress > self._max_requests:
                entry.failure = Failure(429, f"more than {self._max_requests} requests at once; try again later")
                busy = JSONResponse(entry.failure.body(), 429, headers={"retry-after": "1"})
                await busy(scope, receive, sending)
            else:
                await self._app(scope, receive, sending)
        finally:
            self._metrics.in_progress -= 1
            self._note(scope["path"], status, time.monotonic() - began, entry)

    def _note(self, path: str, status: int, seconds: float, entry: Entry) -> None:
        self._metrics.add_request(path, status, seconds)
        generation = entry.generation
        saved = None if generation is None else generation.saved
        failure = entry.failure
        if failure is None and generation is not None and generation.failure is not None:
            failure = Failure.of(generation.failure)  # in the middle of a stream
        if saved is not None:
            self._metrics.add_saved(saved)
        what = saved or (failure.line if failure else "the client left")
        self._log(f"{status} {path} in {seconds:.2f} s: {what}")
