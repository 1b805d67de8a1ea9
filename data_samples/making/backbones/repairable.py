"""Errors that the user of a command can repair, shown as one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from halfv_core.errors import HalfVError


@contextmanager
def repairable() -> Iterator[None]:
    """Ends the command with the exit code of a HalfVError, if one is raised."""
    try:
        yield
    except HalfVError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from None
