"""A stand-in of the Hugging Face hub on this machine: as much of its HTTP API as publishing and loading take.

with running_hub(tmp_path) as hub:
    subprocess.run(command, env=os.environ | hub.environment(token="good"))
    hub.files["owner/name"]["profile.json"]
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

TOKENS = {"good": "me"}
"""Token -> the owner who may write with it."""


@dataclass
class Hub:
    """What the stand-in holds."""

    cache: Path
    """Folder of the clients' caches."""
    address: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Repository -> path -> content, of the only revision."""
    private: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    """Method and path of each request."""

    def environment(self, token: str = "") -> dict[str, str]:
        """What makes a process use this hub."""
        home = {"HF_HOME": str(self.cache), "HF_ENDPOINT": self.address, "HF_HUB_OFFLINE": "0"}
        return home | {"HF_TOKEN": token, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}

    def commit(self, repository: str) -> str:
        """The id of the repository's only commit."""
        content = sorted((path, hashlib.sha256(data).hexdigest()) for path, data in self.files[repository].items())
        return hashlib.sha1(json.dumps(content).encode()).hexdigest()


@contextmanager
def running_hub(cache: Path) -> Iterator[Hub]:
    """A hub that answers while the block runs."""
    hub = Hub(cache)

    class Handler(_Handler):
        state = hub

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: Hub

    def do_HEAD(self) -> None:
        self._get(with_body=False)

    def do_GET(self) -> None:
        self._get(with_body=True)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.state.requests.append(f"POST {self.path}")
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        owner = TOKENS.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
        if owner is None:
            return self._json({"error": "Invalid username or password."}, 401)
        if self.path == "/api/repos/create":
            return self._create(json.loads(body), owner)
        repository, what = self._split(self.path)
        if not repository.startswith(f"{owner}/"):
            return self._json({"error": "Forbidden: you have no right to write here."}, 403)
        if what == "preupload":
            asked = json.loads(body)["files"]
            modes = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in asked]
            return self._json({"files": modes})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                value = line["value"]
                self.state.files[repository][value["path"]] = base64.b64decode(value["content"])
        commit = self.state.commit(repository)
        self._json(
            {"success": True, "commitOid": commit, "commitUrl": f"{self.state.address}/{repository}/commit/{commit}"}
        )

    @staticmethod
    def _split(path: str) -> tuple[str, str]:
        """Repository and action of /api/models/OWNER/NAME/ACTION/main."""
        owner, name, action = path.removeprefix("/api/models/").split("/")[:3]
        return f"{owner}/{name}", action

    def _create(self, asked: dict[str, Any], owner: str) -> None:
        repository = f"{asked.get('organization', owner)}/{asked['name']}"
        if not repository.startswith(f"{owner}/"):
            return self._json({"error": "You don't have the rights to create a model under this namespace"}, 403)
        address = {"url": f"{self.state.address}/{repository}", "name": repository}
        if repository in self.state.files:
            return self._json({"error": "You already created this model repo", **address}, 409)
        self.state.files[repository] = {}
        if asked.get("private") or asked.get("visibility") == "private":
            self.state.private.add(repository)
        self._json(address)

    def _get(self, with_body: bool) -> None:
        self.state.requests.append(f"{self.command} {self.path}")
        parts = unquote(self.path).strip("/").split("/", 4)
        if self.path == "/":
            return self._json({})
        if parts[:2] == ["api", "models"]:
            return self._json({"error": "not here"}, 404)
        owner, name, _, revision, path = parts
        files = self.state.files.get(f"{owner}/{name}")
        if files is None:
            return self._refuse("RepoNotFound")
        commit = self.state.commit(f"{owner}/{name}")
        if revision not in ("main", commit):
            return self._refuse("RevisionNotFound")
        if path not in files:
            return self._refuse("EntryNotFound", commit)
        content = files[path]
        self.send_response(200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def _refuse(self, code: str, commit: str = "") -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _json(self, data: Any, status: int = 200) -> None:
        content = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""
