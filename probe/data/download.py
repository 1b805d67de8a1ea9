"""Downloads image files from public addresses: http and https alone, within a time and a size, and once each.

A data set comes from anybody, and so do the addresses in it. Requests to this machine or to the network that it is in
are refused, whether an address names them, a name resolves to them, or a redirect leads to them.
"""

import atexit
import hashlib
import ipaddress
import shutil
import socket
import string
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import (
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from filelock import FileLock

from halfv_core.files import write_atomically
from probe.data.decoding import is_image

MAX_DOWNLOAD = 50_000_000
"""Largest download, bytes."""

MAX_KEPT = 4_000_000_000
"""Downloads that are kept until the process ends, bytes; further ones are downloaded whenever they are opened."""

TIMEOUT = 30.0
"""Seconds without a response after which a download fails; three times as many are allowed for all of it."""

_CHUNK = 65_536
_folder: Path | None = None


def download(url: str) -> bytes:
    """The bytes of an image file, from a temporary folder if it was downloaded before.

    Raises:
        OSError: the download fails or takes too long, or leads to an address that is not public.
        ValueError: the file is too large, or the address is none.
    """
    kept = folder() / hashlib.sha256(url.encode(errors="replace")).hexdigest()
    with FileLock(kept.with_suffix(".lock")):
        if kept.is_file():
            return kept.read_bytes()
        data = fetch(url)
        others = sum(file.stat().st_size for file in kept.parent.iterdir())
        if is_image(data) and others + len(data) <= MAX_KEPT:
            write_atomically(kept, data)
    return data


def folder() -> Path:
    """The folder of what was downloaded, removed when the process that made it ends."""
    global _folder
    if _folder is None:
        _folder = Path(tempfile.mkdtemp(prefix="halfv-probe-"))
        atexit.register(shutil.rmtree, _folder, ignore_errors=True)
    return _folder


def use_folder(path: Path) -> None:
    """Keep downloads in the folder of another process, so that each address is downloaded once for both."""
    global _folder
    _folder = path


def fetch(url: str) -> bytes:
    """The bytes of a file, downloaded anew; raises what `download` raises."""
    sockets: list[socket.socket] = []
    stop = threading.Timer(3 * TIMEOUT, _shut, [sockets])
    stop.daemon = True
    began = time.monotonic()
    stop.start()
    try:
        # Some sites reject urllib's default agent.
        request = Request(quote(url, safe=string.punctuation), headers={"User-Agent": "halfv-probe"})
        with _opener(sockets).open(request, timeout=TIMEOUT) as response:
            data, missing = _body(response), response.length
    except HTTPError as error:
        error.close()  # the error keeps the connection open
        raise
    except (HTTPException, AttributeError) as error:  # AttributeError: the socket was shut while headers were read
        raise OSError(_late(began) or f"{type(error).__name__}: {error}") from None
    except OSError as error:
        raise OSError(_late(began) or str(error)) from None
    finally:
        stop.cancel()
    if late := _late(began):
        raise OSError(late)
    if len(data) > MAX_DOWNLOAD:
        raise ValueError(f"larger than {MAX_DOWNLOAD:,} bytes")
    if missing:
        raise OSError(f"{missing:,} bytes are missing at its end")
    return data


def _body(response: Any) -> bytes:
    """The body of a response, up to one byte more than `MAX_DOWNLOAD`."""
    body = bytearray()
    while len(body) <= MAX_DOWNLOAD and (chunk := response.read(min(_CHUNK, MAX_DOWNLOAD + 1 - len(body)))):
        body += chunk
    return bytes(body)


def _late(began: float) -> str | None:
    """What is wrong with a download that has taken too long; None if it has not."""
    return f"timed out after {3 * TIMEOUT:g} s" if time.monotonic() - began >= 3 * TIMEOUT else None


def _shut(sockets: list[socket.socket]) -> None:
    """Make whoever waits for these sockets give up."""
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found.sixtofour or found
    return found.is_global and not found.is_multicast


def _public_addresses(host: str, port: int) -> list[tuple[Any, ...]]:
    """What a host resolves to; raises OSError if any of it is not public."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError(f"{host[:80]} is no name of a host") from None
    for *_, address in found:
        if not is_public(str(address[0])):
            raise OSError(f"{host} is not a public address ({address[0]})")
    return found


def _connect(sockets: list[socket.socket]) -> Callable[..., socket.socket]:
    """A `socket.create_connection` for public addresses alone, which notes its sockets."""

    def connect(address: tuple[str, int], timeout: float, source: Any = None) -> socket.socket:
        failed: OSError | None = None
        for family, kind, protocol, _, place in _public_addresses(*address):
            one = socket.socket(family, kind, protocol)
            sockets.append(one)
            try:
                one.settimeout(timeout)
                one.connect(place)
                return one
            except OSError as error:
                one.close()
                failed = error
        raise failed or OSError(f"{address[0]} has no address")

    return connect


def _connect_to_proxy(sockets: list[socket.socket]) -> Callable[..., socket.socket]:
    """A `socket.create_connection` that notes its sockets; the user's own proxy may be anywhere."""

    def connect(address: tuple[str, int], timeout: float, source: Any = None) -> socket.socket:
        one = socket.create_connection(address, timeout, source)
        sockets.append(one)
        return one

    return connect


def _opener(sockets: list[socket.socket]) -> OpenerDirector:
    """Opens http and https, through the proxy of the environment if there is one."""

    def made(kind: type[HTTPConnection], request: Request) -> Callable[..., HTTPConnection]:
        proxied = request.has_proxy() or bool(getattr(request, "_tunnel_host", None))
        if proxied:
            _check_url(request.full_url)

        def connection(host: str, **settings: Any) -> HTTPConnection:
            one = kind(host, **settings)
            one._create_connection = (_connect_to_proxy if proxied else _connect)(sockets)  # type: ignore[attr-defined]
            return one

        return connection

    class Http(HTTPHandler):
        def http_open(self, req: Request) -> Any:
            return self.do_open(made(HTTPConnection, req), req)

    class Https(HTTPSHandler):
        def https_open(self, req: Request) -> Any:
            return self.do_open(made(HTTPSConnection, req), req)

    class Redirects(HTTPRedirectHandler):
        def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
            if urlsplit(newurl).scheme.lower() not in ("http", "https"):
                raise HTTPError(newurl, code, f"{msg} - redirection to '{newurl[:80]}' is not allowed", headers, fp)
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    return build_opener(ProxyHandler(), Http(), Https(), Redirects())


def _check_url(url: str) -> None:
    """Check what a proxy is asked for; a name that only the proxy can resolve is left to it."""
    parts = urlsplit(url)
    try:
        _public_addresses(parts.hostname or "", parts.port or 80)
    except socket.gaierror:
        return
