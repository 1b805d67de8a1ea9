"""What is wrong with the words of a command line, as the same one-line error as everything else."""

import sys
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from halfv_core.errors import HalfVError

UsageError: Any = typer.BadParameter.__base__
"""What typer raises for every mistake on a command line; some versions of it take the class from click."""


class OneLineGroup(TyperGroup):
    """Commands without typer's own printing of errors, which takes several lines and ends the program at once."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run a command and exit.

        Raises:
            HalfVError: an unknown command or option, a missing one, or a value of the wrong kind or out of range.
        """
        try:
            code = super().main(*arguments, **{**options, "standalone_mode": False})
        except UsageError as error:
            raise usage_error(error) from None
        except typer.Abort as aborted:  # what typer makes of every EOFError
            raise aborted.__cause__ or aborted from None
        sys.exit(code or 0)


def usage_error(error: Any) -> "HalfVError":
    """The error for one of typer's: with the value, which typer may leave out, and the command whose help says more."""
    from pydantic import ValidationError

    from halfv_core.errors import MAX_VALUE, HalfVError

    if isinstance(error.__cause__, ValidationError):
        fault = error.__cause__.errors()[0]
        got = repr(fault["input"])
        error.message = fault["msg"].removeprefix("Value error, ")
        if got not in error.message:
            error.message += f", got {got}"
    text = error.format_message().rstrip(".")
    if len(text) > MAX_VALUE:  # the option stands first, what was expected last
        text = f"{text[: MAX_VALUE // 2]} ... {text[-MAX_VALUE // 2 :]}"
    remedy = f"see {error.ctx.command_path} --help" if error.ctx else "see --help"
    return HalfVError(text[:1].lower() + text[1:], remedy=remedy)
