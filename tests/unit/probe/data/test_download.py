"""Downloads: on request, from public addresses, within a time and a size, and kept on disk."""

import io
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from halfv_core.errors import DataError
from probe.data import download
from probe.data.images import from_text, image_name, open_image

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def noise() -> bytes:
    """An image file of noise."""
    stream = io.BytesIO()
    Image.fromarray(NOISE).save(stream, "PNG")
    return stream.getvalue()


PUBLIC = download.is_public


class Server(BaseHTTPRequestHandler):
    """Responds according to the path, and records the requested paths."""

    requested: list[str] = []

    def do_GET(self) -> None:
        self.requested.append(self.path)
        body = bytes(3000) if self.path == "/large.png" else noise()
        if self.path == "/slow.png":
            time.sleep(0.6)
            return
        if self.path == "/header.png":
            self.drop()
            return
        if self.path == "/nonsense.png":
            self.wfile.write(b"nonsense\r\n\r\n")
            return
        found = 302 if self.path.startswith("/to?") else 200
        self.send_response({"/gone.png": 404, "/moved.png": 302}.get(self.path, found))
        if self.path == "/moved.png":
            self.send_header("Location", "file:///etc/passwd")
        if self.path.startswith("/to?"):
            self.send_header("Location", self.path[4:])
        self.send_header("Content-Length", str(len(body) + (self.path == "/cut.png")))
        self.end_headers()
        if self.path == "/drop.png":
            self.drop()
            return
        self.wfile.write(b"<html>" if self.path == "/page.png" else body)

    def drop(self) -> None:
        """Send a byte at a time."""
        try:
            for _ in range(200):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.05)
        except OSError:
            pass

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Address of a server on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture(autouse=True)
def requested(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The paths requested from the server in a test, as if it were a public one, without a proxy in between."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "is_public", lambda address: address == "127.0.0.1")
    monkeypatch.setattr(download, "_folder", tmp_path)
    Server.requested.clear()
    return Server.requested


def test_nothing_is_fetched_unless_asked(server: str, requested: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*arguments: object) -> None:
        raise AssertionError("connected")

    monkeypatch.setattr(socket.socket, "connect", connect)
    for url in (f"{server}/a.png", "HTTPS://example.org/a.png"):
        with pytest.raises(DataError, match="is a URL; give --fetch-images to download it"):
            from_text(url, Path(), fetch=False)
    assert image_name(from_text(f"{server}/a.png", Path(), fetch=True)) == f"{server}/a.png"
    assert requested == []


def test_a_url_is_fetched_once_when_asked(server: str, requested: list[str]) -> None:
    picture = from_text(f"{server}/größe 1.png?x=1&y=%20", Path(), fetch=True)
    for _ in range(3):
        assert np.array_equal(np.asarray(open_image(picture)), NOISE)
    assert requested == ["/gr%C3%B6%C3%9Fe%201.png?x=1&y=%20"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/gone.png", "cannot read image http://.*/gone.png: HTTP Error 404"),
        ("/large.png", "larger than 2,500 bytes"),
        ("/moved.png", "cannot read image .*: HTTP Error 302: .*not allowed"),
        ("/cut.png", "cannot read image .* bytes are missing at its end"),
        ("/nonsense.png", "cannot read image .*BadStatusLine"),
        ("/slow.png", "cannot read image .*timed out"),
        ("/page.png", "cannot read image .* bytes are missing at its end"),
        ("/drop.png", "cannot read image .*: timed out after 0.9 s"),
        ("/header.png", "cannot read image .*: timed out after 0.9 s"),
        ("/to?ftp://127.0.0.1/a.png", "cannot read image .*: HTTP Error 302: .*not allowed"),
        ("/to?data:image/png;base64,AAAA", "cannot read image .*: HTTP Error 302: .*not allowed"),
    ],
)
def test_downloads_that_fail_are_one_clear_line(
    path: str, message: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MAX_DOWNLOAD", 2500 if path == "/large.png" else 100_000)
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    with pytest.raises(DataError, match=message) as caught:
        open_image(from_text(server + path, Path(), fetch=True))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a.png", "http://[/a.png", "http://", "http://127.0.0.1:x/a"])
def test_addresses_that_lead_nowhere_are_one_clear_line(url: str) -> None:
    with pytest.raises(DataError, match="cannot read image http://"):
        open_image(from_text(url, Path(), fetch=True))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0"),
        *("100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "2002:a00:1::"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not PUBLIC(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_that_are_public(address: str) -> None:
    assert PUBLIC(address)


def resolving(monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]) -> None:
    """Names that resolve to these addresses; nothing is asked of the network."""
    real = socket.getaddrinfo

    def resolve(host: str, port: Any, *arguments: Any, **named: Any) -> list[Any]:
        found = [real(address, port, *arguments, **named)[0] for address in names.get(host, [host])]
        return found

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "inside.example", "both.example", "0x7f.1", "2130706433"])
def test_private_addresses_are_not_asked(
    host: str, server: str, requested: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "is_public", PUBLIC)
    names = {"inside.example": ["127.0.0.1"], "both.example": ["8.8.8.8", "127.0.0.1"]}
    resolving(monkeypatch, names | {"localhost": ["127.0.0.1"]})
    port = server.rpartition(":")[2]
    with pytest.raises(DataError, match="cannot read image .*is not a public address"):
        open_image(from_text(f"http://{host}:{port}/a.png", Path(), fetch=True))
    assert requested == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_redirects_to_private_addresses_are_not_followed(
    scheme: str, server: str, requested: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """127.0.0.1 stands for a public address here, 127.0.0.2 for a private one."""
    inner = f"{scheme}://127.0.0.2:{server.rpartition(':')[2]}/admin?delete=all"
    with pytest.raises(DataError, match=r"127.0.0.2 is not a public address"):
        open_image(from_text(f"{server}/to?{inner}", Path(), fetch=True))
    assert requested == [f"/to?{inner}"]


def test_a_redirect_to_a_public_address_is_followed(server: str, requested: list[str]) -> None:
    assert open_image(from_text(f"{server}/to?{server}/a.png", Path(), fetch=True)).size == (60, 40)
    assert requested == [f"/to?{server}/a.png", "/a.png"]


def test_a_proxy_is_not_asked_for_private_addresses(
    server: str, requested: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", server)
    monkeypatch.setattr(download, "is_public", PUBLIC)
    with pytest.raises(DataError, match="10.0.0.1 is not a public address"):
        open_image(from_text("http://10.0.0.1/a.png", Path(), fetch=True))
    assert requested == []
    assert open_image(from_text("http://8.8.8.8/a.png", Path(), fetch=True)).size == (60, 40)
    assert requested == ["http://8.8.8.8/a.png"]


def test_what_is_no_image_is_not_kept(server: str, requested: list[str], tmp_path: Path) -> None:
    for url in (f"{server}/large.png", f"{server}/a.png"):
        for _ in range(2):
            try:
                open_image(from_text(url, Path(), fetch=True))
            except DataError:
                pass
    assert requested == ["/large.png", "/large.png", "/a.png"]
    assert [file.stat().st_size for file in tmp_path.iterdir() if file.suffix != ".lock"] == [len(noise())]


def test_no_more_is_kept_than_allowed(server: str, requested: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_KEPT", 2 * len(noise()))
    for _ in range(2):
        for name in "abc":
            assert open_image(from_text(f"{server}/{name}.png", Path(), fetch=True)).size == (60, 40)
    assert requested == ["/a.png", "/b.png", "/c.png", "/c.png"]
