"""`halfv-probe`: the list of commands, and how errors end the program.

    halfv-probe --help      # or: python -m cli.main --help

Exit code 0: success; 1: the run failed; 2: the input is wrong (one line on stderr); 129, 130, 143: stopped by SIGHUP,
SIGINT (Ctrl-C) or SIGTERM.
"""

import errno
import os
import sys
import warnings
from typing import TextIO

import typer

from cli import ranks
from cli.analyze import analyze
from cli.bench import bench
from cli.calibrate import calibrate
from cli.compare import compare
from cli.compare_methods import compare_methods
from cli.demo import demo
from cli.doctor import doctor
from cli.estimate import estimate
from cli.evaluate import evaluate
from cli.export import export
from cli.generate import generate
from cli.interrupts import Stopped, stoppable
from cli.methods import methods
from cli.models import models
from cli.option_groups import flattened
from cli.plot import plot
from cli.publish import publish
from cli.serve import serve
from cli.stages import stages
from cli.usage import OneLineGroup

app = typer.Typer(
    cls=OneLineGroup,
    help="Find where a multimodal LLM's visual tokens stop being worth their cost, and run it without them.",
    pretty_exceptions_enable=False,
)
for command in (
    demo,
    calibrate,
    stages,
    plot,
    compare,
    export,
    publish,
    analyze,
    generate,
    serve,
    evaluate,
    compare_methods,
    bench,
    estimate,
    models,
    methods,
    doctor,
):
    app.command()(flattened(command))

_FORMAT = warnings.formatwarning
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Why stdout may not take what is printed; a closed pipe is typer's matter."""


def main() -> None:
    """Run a command; errors that the user can repair are printed on one line, without a traceback."""
    warnings.formatwarning = one_line
    stderr, words = sys.stderr, sys.argv[1:] or ["--help"]
    try:
        with stoppable():
            ranks.join(words)
            app(words, prog_name="halfv-probe")
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 0
    except Stopped as stopped:
        line, code = ranks.stopped(stopped)
        if line is not None:
            ranks.show(line, stderr)
    except Exception as error:
        code = failed(error, stderr)
    sys.exit(ranks.leave(code))


def one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """This project's own warnings like its errors; those of other packages with the place in their code."""
    if category.__module__.startswith("halfv_core"):
        return f"halfv-probe: {message}\n"
    return _FORMAT(message, category, filename, lineno, line)


def failed(error: Exception, stderr: TextIO) -> int:
    """Show an error that has ended a command, unless another process does; its exit code."""
    if isinstance(error, OSError) and error.filename is None and error.errno in UNWRITABLE:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left is written once more on exit
        print(f"halfv-probe: cannot write the output: {error.strerror}", file=stderr)
        return 1
    # Imported here because importing torch would take seconds from `--help`.
    from halfv_core.failures import failure_of

    own = failure_of(error)
    shown = ranks.failed(error)
    if own is None:
        sys.stderr = stderr  # the traceback is worth having, from every process
        raise error
    if shown is not None:
        print(f"halfv-probe: {failure_of(shown) or own}", file=stderr)
    return own.exit_code


if __name__ == "__main__":
    main()
