"""Runs the server: a socket, a model under a plan, and an end that lets answers be finished."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Thread

import uvicorn

from halfv_core import Plan, Profile, apply
from halfv_core.errors import HalfVError, RunError
from halfv_core.models import LoadedModel
from probe.serving.app import build_app
from probe.serving.compiling import compile_decoding
from probe.serving.metrics import Metrics
from probe.serving.prepare import RequestOptions, check_servable
from probe.serving.service import Service

_CUT = 10
"""Seconds for answers that are cut off at the next token, and for clients that do not take what they asked for."""


@dataclass(frozen=True)
class ServerOptions:
    """How the server behaves."""

    requests: RequestOptions = field(default_factory=RequestOptions)
    """How requests are read and answered."""
    max_requests: int = 100
    """How many requests wait or are answered at once."""
    grace: int = 30
    """Seconds that a server which is stopped lets answers go on."""
    enable_cors: bool = False
    """Whether pages of any origin may ask."""
    log_requests: bool = True
    """Whether each request gets a line."""


def bound(host: str, port: int) -> socket.socket:
    """A socket that is bound but does not listen yet, so that clients are refused until the model is there.

    Args:
        host: a name or an address of this machine.
        port: 0 for any that is free.

    Raises:
        HalfVError: the address is not one of this machine, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
        except OSError:
            found.close()
            raise
    except (OSError, ValueError) as error:  # ValueError: no name of a host
        raise HalfVError(
            f"cannot serve at this address ({getattr(error, 'strerror', None) or 'no such host'})",
            got=f"{host}:{port}",
            remedy="choose another --host or --port; port 0 takes any that is free",
        ) from None
    return found


def serve(
    loaded: LoadedModel, plan: Profile | Plan, sock: socket.socket, options: ServerOptions, log: Callable[[str], None]
) -> None:
    """Serve the model under the plan until the process is told to stop, by an exception in this thread.

    Then no further request is taken, and answers go on for `options.grace` seconds, after which they are cut off.

    Args:
        loaded: the model; it is as it was when this returns.
        plan: what is applied to it, see `apply`; `Plan(())` for nothing.
        sock: from `bound`.
        options: how the server behaves.
        log: gets a line when the server is ready, and one for each request.

    Raises:
        UnsupportedError: the checkpoint's settings cannot be served, or decoding cannot be compiled.
        HalfVError: the plan cannot be applied, see `apply`, or the chat template does not read a value for it.
        RunError: the server ended by itself.
    """
    check_servable(loaded.model)
    options.requests.check(loaded.processor)
    stop = Event()
    with apply(loaded.model, plan) as run:
        work = "; ".join(run.plan.describe())
        metrics = Metrics(loaded.name, work)
        service = Service(loaded, run, options.requests, stop)
        if options.requests.compile:
            log(f"decoding was compiled in {compile_decoding(service):.0f} s")
        note = log if options.log_requests else _no_log
        app = build_app(service, metrics, options.max_requests, options.enable_cors, note)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=options.grace + _CUT,
        )
        try:
            ready = f"{loaded.name} is served at {_url(sock)}; {work}"
            _run(uvicorn.Server(config), sock, options.grace, stop, partial(log, ready))
        finally:
            service.close()


def _run(server: uvicorn.Server, sock: socket.socket, grace: int, stop: Event, ready: Callable[[], None]) -> None:
    """Run uvicorn in a thread of its own, where it leaves signals alone, until an exception is raised in this one."""
    ended = Event()

    def run() -> None:
        try:
            server.run(sockets=[sock])
        finally:
            ended.set()

    try:
        Thread(target=run, name="server", daemon=True).start()
        while not (server.started or ended.wait(0.01)):
            pass
        if server.started:
            ready()
        ended.wait()
        raise RunError("the server ended by itself")
    finally:
        server.should_exit = True
        ended.wait(grace)
        stop.set()
        ended.wait(_CUT)


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _no_log(line: str) -> None:
    pass
