"""Option groups: a command takes a dataclass, the command line has its fields, and typed options are known."""

import json
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from cli.common import given_arguments, print_json
from cli.option_groups import flattened


@dataclass(frozen=True)
class Loading:
    device: Annotated[str, typer.Option("--device", help="Where it runs.")]
    trust: Annotated[bool, typer.Option("--trust", help="Run its code.")] = False


@dataclass(frozen=True)
class Reading:
    column: Annotated[list[str] | None, typer.Option("--column", help="What means what.")] = None


def command(context: typer.Context, *, model: str, reading: Reading, seed: int = 0, loading: Loading) -> None:
    """Say what arrived."""
    print_json({"groups": repr([reading, loading]), "seed": seed, "given": given_arguments(context)})


@pytest.fixture
def app() -> typer.Typer:
    found = typer.Typer()
    found.command()(flattened(command))
    return found


def test_a_command_gets_its_groups_and_knows_what_was_typed(app: typer.Typer) -> None:
    done = CliRunner().invoke(app, ["m", "--trust", "--column", "a", "--device", "cpu", "--column", "b"])
    said = json.loads(done.stdout)
    assert said["groups"] == repr([Reading(["a", "b"]), Loading("cpu", True)])
    assert said["given"] == {"trust": True, "column": ["a", "b"], "device": "cpu", "model": "m"}


def test_help_lists_the_options_where_their_group_stands(app: typer.Typer) -> None:
    said = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).stdout
    places = [said.index(text) for text in ("Say what arrived.", "What means what.", "--seed", "Where it runs.")]
    assert places == sorted(places) and "Run its code." in said


def test_an_option_without_a_default_is_required(app: typer.Typer) -> None:
    done = CliRunner().invoke(app, ["m"])
    assert done.exit_code == 2 and "--device" in done.stderr


def test_two_options_of_one_name_are_a_mistake() -> None:
    def twice(*, seed: int, device: str, loading: Loading) -> None: ...

    with pytest.raises(ValueError, match="device"):
        flattened(twice)
