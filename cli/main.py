"""`halfv-probe`: the list of commands, and how errors end the program.

    halfv-probe --help      # or: python -m cli.main --help

Exit code 0: success; 1: the run failed; 2: the input is wrong (one line on stderr); 129, 130, 143: stopped by SIGHUP,
SIGINT (Ctrl-C) or SIGTERM.
"""

import errno
import os
import sys
from collections.abc import Mapping
from contextlib import suppress

import typer

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
    analyze,
    generate,
    evaluate,
    compare_methods,
    bench,
    estimate,
    models,
    methods,
    doctor,
):
    app.command()(flattened(command))

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Why stdout may not take what is printed; a closed pipe is typer's matter."""


def main() -> None:
    """Run a command; errors that the user can repair are printed on one line, without a traceback."""
    try:
        with stoppable():
            check_alone(os.environ)
            app(sys.argv[1:] or ["--help"], prog_name="halfv-probe")
    except Stopped as stopped:
        with suppress(OSError):  # the terminal may be gone
            print(f"halfv-probe: {stopped}", file=sys.stderr, flush=True)
        sys.exit(stopped.exit_code)
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None and error.errno in UNWRITABLE:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left is written once more on exit
            print(f"halfv-probe: cannot write the output: {error.strerror}", file=sys.stderr)
            sys.exit(1)
        # Imported here because importing torch would take seconds from `--help`.
        from halfv_core.failures import failure_of

        failure = failure_of(error)
        if failure is None:
            raise
        print(f"halfv-probe: {failure}", file=sys.stderr)
        sys.exit(failure.exit_code)


def check_alone(environment: Mapping[str, str]) -> None:
    """Refuse to be one of several processes of torchrun, each of which would do all the work into the same files.

    Raises:
        HalfVError: torchrun, or what sets the same variables, has started more than this process.
    """
    world = environment.get("WORLD_SIZE", "1")
    if "RANK" in environment and world.isdecimal() and int(world) > 1:
        from halfv_core.errors import HalfVError

        if environment.get("LOCAL_RANK", "0") != "0":  # the line is printed once
            sys.exit(HalfVError.exit_code)
        raise HalfVError(
            "a command runs in one process, and several were started, which would overwrite each other's files",
            got=f"WORLD_SIZE={world}",
            expected="WORLD_SIZE=1 or none",
            remedy="run it without torchrun; --device auto uses all GPUs",
        )


if __name__ == "__main__":
    main()
