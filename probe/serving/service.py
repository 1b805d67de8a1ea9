"""Answers requests: reads and checks them, has them answered by transformers' handlers, and reports failures."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import dataclass
from threading import Event
from traceback import print_exception
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from transformers.cli.serving.chat_completion import ChatCompletionHandler
from transformers.cli.serving.response import ResponseHandler
from transformers.cli.serving.utils import GenerateManager

from halfv_core import Run
from halfv_core.errors import DataError, RunError
from halfv_core.failures import reason_of
from halfv_core.models import LoadedModel
from probe.serving.failures import Failure, Refusal
from probe.serving.generation import Generation
from probe.serving.prepare import RequestOptions, prepare
from probe.serving.requests import ChatRequest, Request, ResponseRequest, parsed

MAX_BODY = 64_000_000
"""Largest body of a request, bytes."""

PREPARED = 4
"""Requests whose images and inputs are in memory at once: one that is being answered, and the next ones."""

_LAST_TOKEN = 10.0
"""Seconds in which an answer that is cut off should end."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Endpoint:
    """One kind of requests, and the handler of `transformers serve` that formats its answers."""

    kind: type[Request]
    handler: Any
    between: tuple[object, ...] = ()
    """What the handler takes between the model's name and the inputs."""
    end: str = ""
    """The last event of a stream, if OpenAI's has one."""


ENDPOINTS = {
    "/v1/chat/completions": Endpoint(ChatRequest, ChatCompletionHandler(None, None), end="data: [DONE]\n\n"),  # type: ignore[arg-type] # they load models, which is done already
    "/v1/responses": Endpoint(ResponseRequest, ResponseHandler(None, None), between=({},)),  # type: ignore[arg-type]
}


@dataclass
class Entry:
    """What is known of a request for its line in the log."""

    id: str
    failure: Failure | None = None
    generation: Generation | None = None


class Service:
    """A model under a plan, to be asked over HTTP; prompts are answered one after the other.

    Args:
        loaded: the model, to which the plan is applied.
        run: the plan.
        options: how requests are read and answered.
        stop: set when the server ends and does not wait any longer.
    """

    def __init__(self, loaded: LoadedModel, run: Run, options: RequestOptions, stop: Event) -> None:
        self.name = loaded.name
        self._loaded = loaded
        self._run = run
        self._options = options
        self._stop = stop
        self._manager = GenerateManager()
        self._places = asyncio.Semaphore(PREPARED)

    def answer_now(self, asked: Request, new_tokens: int) -> None:
        """Answer a request with exactly so many tokens, of which nothing is kept.

        Raises:
            Exception: whatever the model or its processor raise.
        """
        prepared = prepare(asked, self._loaded, self._options)
        prepared.settings.min_new_tokens = prepared.settings.max_new_tokens = new_tokens
        generation = Generation(self._loaded.model, self._run, prepared, self._stop)
        arguments = {"generation_config": prepared.settings, "tokenizer": self._loaded.processor.tokenizer}
        try:
            self._manager.submit(generation.generate, **prepared.inputs, **arguments).result()
        except Exception as error:
            raise generation.failure or error from None

    def close(self) -> None:
        """Wait until the model is not used any more, after `stop` has been set."""
        with suppress(TimeoutError):
            self._manager.submit(lambda: None).result(_LAST_TOKEN)

    async def answer(self, http: HttpRequest) -> Response:
        """The answer to a request, or OpenAI's error object."""
        entry: Entry = http.state.entry
        try:
            endpoint = ENDPOINTS[http.url.path]
            asked = parsed(endpoint.kind, await _body(http))
            if asked.model != self.name:
                raise Refusal(404, f"this server has another model; got {asked.model!r}; expected {self.name}")
            return await self._answer(http, endpoint, asked)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets one line
            entry.failure = Failure.of(error)
            if entry.failure.traceback:
                print_exception(error)
            return JSONResponse(entry.failure.body(), entry.failure.status)

    async def _answer(self, http: HttpRequest, endpoint: Endpoint, asked: Request) -> Response:
        """Prepare a prompt when it is nearly its turn, and have it answered."""
        entry: Entry = http.state.entry
        await self._places.acquire()
        generation = None
        try:
            prepared = await asyncio.to_thread(prepare, asked, self._loaded, self._options)
            generation = entry.generation = Generation(self._loaded.model, self._run, prepared, self._stop)
            loop = asyncio.get_running_loop()
            generation.finished.add_done_callback(lambda _: _tell(loop, self._places.release))
            return await _while_waited_for(http, generation, self._respond(endpoint, asked, generation, entry.id))
        except BaseException:
            if generation is None:
                self._places.release()
            else:
                generation.finish()
            raise

    async def _respond(self, endpoint: Endpoint, asked: Request, generation: Generation, name: str) -> Response:
        """Generate, and format what comes; of a stream, until its first text is there, so that failures are known."""
        prepared, tokenizer = generation.prepared, self._loaded.processor.tokenizer
        arguments = (name, generation, tokenizer, self.name, *endpoint.between, prepared.inputs, prepared.settings)
        options = {"gen_manager": self._manager, "tools": prepared.tools or None}
        if not asked.stream:
            try:
                whole: Response = await endpoint.handler._non_streaming(*arguments, **options)
            except Exception as error:
                if generation.failure is not None:
                    raise generation.failure from None
                if prepared.tools:
                    raise RunError(f"the answer's call of a tool cannot be read ({reason_of(error)})") from None
                raise
            return whole
        response: StreamingResponse = endpoint.handler._streaming(*arguments, **options)
        chunks: Any = response.body_iterator
        begun = [await anext(chunks), await anext(chunks)]
        if generation.failure is not None:
            raise generation.failure
        response.body_iterator = _stream(begun, chunks, generation, endpoint.end)
        return response


async def _stream(
    begun: list[str], chunks: AsyncGenerator[str], generation: Generation, end: str
) -> AsyncIterator[str]:
    """The events of a stream that has begun; an error that transformers passes on as text becomes OpenAI's object."""
    async with aclosing(chunks):
        for chunk in begun:
            yield chunk
        async for chunk in chunks:
            failure = generation.failure
            if failure is not None:
                bare = f'{{"error": "{generation.quoted_failure()}"}}'
                chunk = chunk.replace(bare, json.dumps(Failure.of(failure).body()))
            yield chunk
    await asyncio.wrap_future(generation.finished)  # so that the line in the log has what it saved
    if generation.failure is None:
        yield end


async def _while_waited_for(http: HttpRequest, generation: Generation, work: Coroutine[Any, Any, Result]) -> Result:
    """What the work returns; the answer ends early if the client goes."""
    task, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_leaves(http))
    try:
        await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            generation.gone.set()
        return await task
    finally:
        leaving.cancel()


async def _leaves(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


async def _body(http: HttpRequest) -> object:
    """The JSON value in a request's body.

    Raises:
        Refusal: the body is too large.
        DataError: it is no JSON.
    """
    body = bytearray()
    try:
        async for chunk in http.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise Refusal(413, f"the body is larger than {MAX_BODY:,} bytes; send less")
    except ClientDisconnect:
        raise Refusal(499, "the client left before it had sent its request") from None
    try:
        return await asyncio.to_thread(json.loads, body)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the body is no JSON ({error})") from None


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Call something in a loop from another thread; not any more if the loop has ended with the server."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)
