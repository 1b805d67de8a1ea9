"""`halfv-probe plot` writes the report of a profile and prints its path."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from halfv_core.errors import HalfVError
from probe.report import Subject, render
from tests import profiles


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "profile.json"
    profiles.llava_like().save(path)
    return path


def test_it_writes_the_report(profile: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "report.html"
    result = CliRunner().invoke(app, ["plot", str(profile), "--output", str(output)])
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"report: {output}\n", "")
    assert output.read_text(encoding="utf-8") == render([Subject(profiles.llava_like())])


def test_json_says_the_same_for_machines(profile: Path, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    result = CliRunner().invoke(app, ["plot", str(profile), "--output", str(output), "--json"])
    assert json.loads(result.stdout) == {"report": str(output), "bytes": output.stat().st_size}


def test_open_shows_the_page(profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr("typer.launch", shown.append)
    output = tmp_path / "report.html"
    CliRunner().invoke(app, ["plot", str(profile), "--output", str(output), "--open"])
    assert shown == [output.as_uri()]


def test_an_output_that_cannot_be_written_is_named(profile: Path) -> None:
    result = CliRunner().invoke(app, ["plot", str(profile), "--output", str(profile / "report.html")])
    assert isinstance(result.exception, HalfVError)
    assert str(result.exception) == f"cannot write {profile}/report.html: File exists; choose another --output"
