"""Shared parts of the commands: typed arguments, progress on stderr, output that cannot be written."""

import json
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from cli.common import given_arguments, print_json, progress_bar, writing
from halfv_core.errors import HalfVError


def test_only_typed_arguments_are_given() -> None:
    app = typer.Typer()

    @app.command()
    def command(
        context: typer.Context,
        model: str,
        samples: int = 100,
        output: Path = Path("profile.json"),
        ratio: Annotated[list[float] | None, typer.Option()] = None,
        quiet: Annotated[bool, typer.Option("--quiet")] = False,
    ) -> None:
        print_json(given_arguments(context))

    typed = ["tiny", "--output", "a/b.json", "--ratio", "0.5", "--ratio", "0.25"]
    result = CliRunner().invoke(app, typed)
    assert json.loads(result.stdout) == {"model": "tiny", "output": "a/b.json", "ratio": [0.5, 0.25]}


def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as report:
        for done in range(4):
            report("curves", done, 3)
        report("tests", 1, 2)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "curves" in printed.err and "3/3" in printed.err and "tests" in printed.err and "1/2" in printed.err


def test_a_place_that_cannot_be_written_is_the_users_mistake(tmp_path: Path) -> None:
    target = tmp_path / "file" / "report.html"
    target.parent.write_text("not a folder")
    with pytest.raises(HalfVError, match=r"cannot write .*report\.html: .*; choose another --output"), writing(target):
        target.write_text("")
