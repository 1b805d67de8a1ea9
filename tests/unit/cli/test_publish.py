"""Publishing to a stand-in of the hub and loading from it, with the hub's own client, in one process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from cli.model_card import hub_id, model_card, public_copy
from halfv_core import Profile
from halfv_core.errors import ProfileError
from halfv_core.hub import is_hub_name
from halfv_core.models import bundled_models
from tests.hub import Hub, running_hub
from tests.profiles import qwen_like

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "data_samples" / "profiles" / "tiny-llava.json"
DRIVER = """
import contextlib, io, json, os, sys
from cli.main import main
results = []
for token, arguments in json.load(sys.stdin):
    os.environ["HF_TOKEN"] = token
    sys.argv = ["halfv-probe", *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    results.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(results))
"""
"""Runs commands one after the other: starting Python for each would take most of the time."""


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def run(hub: Hub, commands: list[tuple[str, list[str]]], **environment: str) -> list[Ended]:
    """What commands, each with a token, print."""
    own = {"PYTHONPATH": str(ROOT), "COLUMNS": "200", **hub.environment(), **environment}
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", DRIVER],
        input=json.dumps(commands),
        env=os.environ | own,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [Ended(*one) for one in json.loads(done.stdout.splitlines()[-1])]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running_hub(tmp_path_factory.mktemp("hub")) as found:
        yield found


@pytest.fixture(scope="module")
def ended(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """Everything that goes to the hub, in order."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "report.html").write_text("<html>")
    hub.files["me/other"] = {"README.md": b""}
    model = bundled_models()["tiny-llava"]
    hub.files["me/checkpoint"] = {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()}
    profile = Profile.load(SHIPPED)
    for name, revision in {"same": hub.commit("me/checkpoint"), "older": "0" * 40}.items():
        origin = profile.provenance.model_copy(update={"model_id": "me/checkpoint", "revision": revision})
        profile.model_copy(update={"provenance": origin}).save(folder / f"{name}.json")
    image = str(ROOT / "data_samples" / "scenes" / "images" / "heldout-000.png")
    ask = ["generate", "--model", "me/checkpoint", "--image", image, "--prompt", "Is there a red circle?", "--profile"]
    publish = ["publish", str(SHIPPED)]
    commands = {
        "not logged in": ("", [*publish, "me/shared"]),
        "of another": ("good", [*publish, "you/shared"]),
        "no name": ("good", [*publish, "shared"]),
        "no report": ("good", [*publish, "me/shared", "--report", str(folder / "none.html")]),
        "published": ("good", [*publish, "me/shared", "--private"]),
        "again": ("good", [*publish, "me/shared", "--report", str(folder / "report.html"), "--json"]),
        "loaded": ("", ["export", "me/shared"]),
        "no revision": ("", ["export", "me/shared@v2"]),
        "no repository": ("", ["export", "me/none"]),
        "no profile": ("", ["export", "me/other"]),
        "same revision": ("", [*ask, str(folder / "same.json")]),
        "older revision": ("", [*ask, str(folder / "older.json")]),
    }
    return dict(zip(commands, run(hub, list(commands.values())), strict=True))


def test_a_published_profile_is_loaded_by_name(ended: dict[str, Ended], hub: Hub) -> None:
    assert ended["published"].code == ended["again"].code == ended["loaded"].code == 0
    loaded = Profile.model_validate_json(ended["loaded"].out)
    assert loaded == Profile.load(SHIPPED) and "me/shared" in hub.private
    assert set(hub.files["me/shared"]) == {"profile.json", "README.md", "report.html"}
    assert json.loads(ended["again"].out)["files"] == ["README.md", "profile.json", "report.html"]
    assert "/me/shared/commit/" in ended["published"].out


def test_what_the_hub_refuses_is_one_line(ended: dict[str, Ended]) -> None:
    expected = {
        "not logged in": "cannot publish to me/shared; got Invalid username or password.",
        "of another": "cannot publish to you/shared; got You don't have the rights",
        "no name": "not a name of a repository; got 'shared'; expected OWNER/NAME",
        "no report": "cannot read the report",
        "no revision": "cannot read profile me/shared@v2; got no such revision",
        "no repository": "cannot read profile me/none; got neither a file nor a repository that can be seen",
        "no profile": "cannot read profile me/other; got a repository without profile.json",
    }
    for name, line in expected.items():
        code, out, err = ended[name]
        assert (code, out) == (2, "") and err.count("\n") == 1 and line in err, name


def test_another_revision_of_the_model_is_warned_of(ended: dict[str, Ended], hub: Hub) -> None:
    same, older = ended["same revision"], ended["older revision"]
    assert same.code == older.code == 0 and same.out == older.out != ""
    assert "revision" not in same.err
    (line,) = [line for line in older.err.splitlines() if "revision" in line]
    assert (
        line.startswith("halfv-probe: this profile was made on revision 0000") and hub.commit("me/checkpoint") in line
    )


def test_without_network_the_cache_serves(ended: dict[str, Ended], hub: Hub) -> None:
    before = len(hub.requests)
    commands = [("", ["export", "me/shared"]), ("", ["export", "me/new"]), ("good", ["publish", str(SHIPPED), "me/x"])]
    cached, missing, publishing = run(hub, commands, HF_HUB_OFFLINE="1")
    assert cached.out == ended["loaded"].out and len(hub.requests) == before
    assert missing.code == publishing.code == 2
    assert "nothing in the local cache" in missing.err and "no answer from the hub" in publishing.err


def test_the_card_has_metadata_and_no_markup_from_data() -> None:
    profile = qwen_like()
    origin = profile.provenance.model_copy(
        update={"model_id": "qwen2.5-vl-7b", "data": "<script>|`x", "revision": "abc", "device": "<b>"}
    )
    text = model_card(profile.model_copy(update={"provenance": origin}), "me/shared")
    _, metadata, body = text.split("---\n", 2)
    found = yaml.safe_load(metadata)
    assert found["base_model"] == "Qwen/Qwen2.5-VL-7B-Instruct" and found["library_name"] == "halfv-probe"
    assert "<b>" not in body and "revision `abc`" in body and 'Profile.load("me/shared")' in body
    outside = "".join(part for index, part in enumerate(body.split("```")) if index % 2 == 0)
    assert "<script>" not in outside and r"&lt;script&gt;\|'x" in outside


def test_what_concerns_nobody_else_is_left_out() -> None:
    profile = qwen_like()
    given: dict[str, Any] = {"data": "/home/me/secret/data.jsonl", "image_root": ["/home/me/pictures"], "samples": 9}
    origin = profile.provenance.model_copy(
        update={"model_id": "/home/me/model", "arguments_given": given, "rejected_first": ("row 1: /home/me/a.png",)}
    )
    shared = public_copy(profile.model_copy(update={"provenance": origin}))
    assert "/home" not in shared.model_dump_json() and shared.provenance.arguments_given["image_root"] == ["pictures"]
    assert shared.provenance.model_id == "model" and shared.provenance.arguments_given["samples"] == 9
    assert shared.model_copy(update={"provenance": profile.provenance}) == profile


def test_files_can_be_looked_at_first(tmp_path: Path) -> None:
    from cli.publish import publish

    publish(SHIPPED, "me/shared", output=tmp_path)
    assert Profile.load(tmp_path / "profile.json") == Profile.load(SHIPPED)
    assert (tmp_path / "README.md").read_text().startswith("---\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("owner/name", True), ("owner/na.me-1@v1.0", True), ("o/n@refs/pr/1", True), ("name", False),
        ("a/b/c", False), ("./name", False), ("../name", False), ("/name", False), ("runs/profile.json", False),
        ("runs/profile.JSON", False), ("owner/", False), ("a b/c", False), ("~/profile", False),
    ],
)  # fmt: skip
def test_names_of_the_hub_are_told_from_paths(text: str, expected: bool) -> None:
    assert is_hub_name(text) == expected


def test_a_file_comes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "name").write_text("{")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProfileError, match="not whole JSON"):
        Profile.load("owner/name")


def test_short_names_are_those_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub_id("llava-1.5-7b") == "llava-hf/llava-1.5-7b-hf" and hub_id("a/b") == "a/b"
    assert hub_id("tiny-llava") is None and hub_id("/models/llava") is None
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub_id("a/b") is None  # a folder
