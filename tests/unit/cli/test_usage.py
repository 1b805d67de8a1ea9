"""What is wrong with the words of a command line is one line, for every command and every option that it declares."""

import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

import cli.main

Capture = pytest.CaptureFixture[str]
COMMANDS: dict[str, Any] = get_command(cli.main.app).commands


@pytest.fixture
def failed(monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> Any:
    """Run `halfv-probe ...` with mistakes in it; return its line on stderr."""

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["halfv-probe", *words])
        with pytest.raises(SystemExit) as left:
            cli.main.main()
        output, errors = capfd.readouterr()
        assert (left.value.code, output) == (2, "")
        assert errors.startswith("halfv-probe: ") and errors.count("\n") == 1 and errors.endswith("\n")
        return errors

    return run


def ranges() -> Iterator[Any]:
    """(command, option, a value, what is expected instead) for all limits, choices and numbers that are declared."""
    for command, declared in COMMANDS.items():
        for parameter in declared.params:
            option, info = parameter.opts[0], vars(parameter)
            described = str(getattr(parameter, "type_descriptor", None) or parameter.type)
            if info.get("min") is not None:
                yield command, option, str(info["min"] - 1), str(info["min"])
            if info.get("max") is not None:
                yield command, option, str(info["max"] + 1), str(info["max"])
            if re.search(r"\b(int|float)\b", described):
                yield command, option, "many", "integer" if "int" in described else "number"
            if choices := getattr(getattr(parameter, "type_descriptor", None), "choices", None):
                yield command, option, "many", ", ".join(map(repr, map(str, choices)))


@pytest.mark.parametrize(("command", "option", "value", "expected"), list(ranges()))
def test_a_value_out_of_range_is_one_line(command: str, option: str, value: str, expected: str, failed: Any) -> None:
    line = failed(command, option, value)
    assert option in line and value in line and expected in line and f"see halfv-probe {command} --help" in line


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_that_there_is_not_is_one_line(command: str, failed: Any) -> None:
    option = next(name for parameter in COMMANDS[command].params for name in parameter.opts if name.startswith("--"))
    line = failed(command, f"{option}x")
    assert f"no such option: {option}x" in line and line.count(option) > 1, "the one that was meant is named"


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_missing_is_one_line(command: str, failed: Any) -> None:
    needed = [parameter for parameter in COMMANDS[command].params if parameter.required]
    if needed:
        line = failed(command)
        assert line.startswith("halfv-probe: missing ") and f"see halfv-probe {command} --help" in line
        assert any(name in line for parameter in needed for name in (*parameter.opts, parameter.name))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nonsense"], "no such command 'nonsense'; see halfv-probe --help"),
        (["calibrat"], "no such command 'calibrat'. Did you mean 'calibrate'?; see halfv-probe --help"),
        (["--nonsense"], "no such option: --nonsense; see halfv-probe --help"),
        (["models", "one"], "got unexpected extra argument(s) (one); see halfv-probe models --help"),
        (["bench", "--model"], "option '--model' requires an argument; see --help"),
        (["models", "--json=x"], "option '--json' does not take a value; see --help"),
        (["export", "p", "--json", "--format", "yaml"], "--json and --format yaml contradict each other"),
    ],
)
def test_other_mistakes_are_one_line(words: list[str], said: str, failed: Any) -> None:
    assert said in failed(*words)


def test_a_long_value_leaves_room_for_the_option_and_what_was_expected(failed: Any) -> None:
    line = failed("export", "p.json", "--format", "many words " * 1000)
    assert len(line) < 400 and "'--format'" in line and "one of 'json', 'yaml'" in line


def test_an_end_of_file_keeps_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Typer takes it for a user who left a prompt, and says no more than that the program was aborted."""

    def fail() -> None:
        raise EOFError("no more rows")

    monkeypatch.setattr("halfv_core.models.bundled_models", fail)
    monkeypatch.setattr(sys, "argv", ["halfv-probe", "models"])
    with pytest.raises(EOFError, match="no more rows"):
        cli.main.main()


def test_without_a_command_the_help_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(sys, "argv", ["halfv-probe"])
    with pytest.raises(SystemExit) as left:
        cli.main.main()
    assert left.value.code == 0
    output, errors = capsys.readouterr()
    assert all(command in output for command in COMMANDS) and errors == ""
