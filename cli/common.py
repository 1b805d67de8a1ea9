"""Shared parts of the commands: options, output and progress.

Results go to stdout and progress to stderr, so that `halfv-probe ... --json | jq` works.
"""

import errno
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import ERROR, getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.segment import Segment

if TYPE_CHECKING:
    from pydantic import JsonValue

    from halfv_core.models import LoadedModel

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
ProfileArgument = Annotated[
    Path, typer.Argument(help="Profile made by `halfv-probe calibrate`, or OWNER/NAME on the hub.", show_default=False)
]

SMALL_MODEL = 50_000_000
"""Number of parameters below which several threads are slower than one."""


class SafeConsole(Console):
    """A console on which text from data, profiles and models cannot act as an escape sequence."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yield the segments with the control characters of their text replaced; rich's own ones stay."""
        from halfv_core.errors import printable

        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


stdout = SafeConsole()
stderr = SafeConsole(stderr=True, soft_wrap=True, highlight=False, markup=False)


def print_json(value: object) -> None:
    """Print JSON without colours or wrapping."""
    echo_json(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def echo_json(text: str) -> None:
    """Print text that is JSON; what a terminal would act on is escaped, which JSON allows."""
    from halfv_core.errors import UNPRINTABLE

    typer.echo(UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text), nl=False)


def given_arguments(context: typer.Context) -> dict[str, "JsonValue"]:
    """The options that the user typed, with their values."""
    arguments = {}
    for name, value in context.params.items():
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            arguments[name] = json.loads(json.dumps(value, default=str))
    return arguments


def load_quietly(model: str, dtype: str, device: str, trust_remote_code: bool, **options: Any) -> "LoadedModel":
    """Load a model without messages and progress bars of transformers and what it uses: stderr has our one-line errors.

    A small model runs on one thread: its layers take microseconds, and several threads would mostly wait for each other
    (30 times slower on a busy machine).

    Args:
        options: further arguments of `load_model`.

    Raises:
        ModelError: see `halfv_core.models.load_model`.
    """
    import torch
    from transformers.utils import logging

    from halfv_core.models import load_model

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    getLogger("bitsandbytes").setLevel(ERROR)
    loaded = load_model(model, dtype=dtype, device=device, trust_remote_code=trust_remote_code, **options)
    if loaded.model.num_parameters() < SMALL_MODEL:
        torch.set_num_threads(1)
    return loaded


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar on stderr for each step, with samples done and time left. Yields `report(step, done, total)`."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    progress = Progress(*columns, console=SafeConsole(stderr=True))

    def report(step: str, done: int, total: int) -> None:
        if step not in tasks:
            progress.start()
            tasks[step] = progress.add_task(step, total=total)
        progress.update(tasks[step], completed=done, total=total)

    try:
        yield report
    finally:
        if tasks:  # stopping a bar that never started would print an empty line
            progress.stop()


def journal_path(output: Path) -> Path:
    """The journal of the work on an output file, with which the same command resumes after an interruption.

    Raises:
        HalfVError: the path has no file name, as `.` and `/`.
    """
    from halfv_core.errors import HalfVError

    if not output.name:
        raise HalfVError(f"cannot write {output}: Is a directory", remedy="choose another --output")
    return output.with_name(f"{output.name}.unfinished")


@contextmanager
def claimed(output: Path) -> Iterator[None]:
    """Inside the block, no other run writes the same output file.

    Raises:
        HalfVError: another run is writing it.
    """
    from probe.common.journal import Journal

    if output.exists() and not output.is_file():  # such as /dev/null
        yield
        return
    with Journal.open(journal_path(output), {"output": output.name}) as claim:
        try:
            yield
        finally:
            claim.discard()


@contextmanager
def writing(path: Path, option: str = "--output") -> Iterator[None]:
    """Turn a failure to write `path`, which the user gave as `option`, into a one-line error.

    Raises:
        HalfVError: the path cannot be written.
        RunError: the disk is full.
    """
    from halfv_core.errors import HalfVError, RunError

    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            remedy = "make room and run the same command again, which keeps what was measured"
            raise RunError(f"cannot write {path}: {error.strerror}", remedy=remedy) from None
        raise HalfVError(f"cannot write {path}: {error.strerror or error}", remedy=f"choose another {option}") from None
