"""Shared parts of the commands: typed arguments, progress on stderr, output that cannot be written."""

import io
import json
import re
from pathlib import Path
from typing import Annotated

import pytest
import typer
from rich.table import Table
from typer.testing import CliRunner

from cli.common import SafeConsole, given_arguments, print_json, progress_bar, writing
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


@pytest.mark.parametrize("terminal", [True, False])
def test_text_from_data_is_no_escape_sequence(terminal: bool) -> None:
    stream = io.StringIO()
    console = SafeConsole(file=stream, force_terminal=terminal, color_system=None, width=200)
    table = Table("\x1b[2J", title="\x1b]0;title\x07")
    table.add_row("cell \x9b2J\x1b[31m")
    console.print("line \x1b]52;c;AAAA\x1b\\ \ud800", markup=False)
    console.print(table)
    for letter in "\x07\x1b\x9b\ud800":
        assert letter not in re.sub(r"\x1b\[[013]*m", "", stream.getvalue())
    assert "line ?]52;c;AAAA" in stream.getvalue()


def test_json_is_safe_to_print_and_unchanged_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"answer": "é \x1b[2J \x9b \x7f \ud800 \u202e\n"}
    print_json(value)
    printed = capsys.readouterr().out
    assert json.loads(printed) == value
    assert "é" in printed and not any(letter in printed for letter in "\x1b\x9b\x7f\ud800\u202e")
