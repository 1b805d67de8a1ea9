"""Output paths, checked before the work begins, so that a typing mistake costs neither an input nor hours of measuring.

prepare([Output("--output", output, beside=(journal,)), Output("--report", report)], inputs=[profile, data])
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cli.common import writing


class Output(NamedTuple):
    """What a command writes for one option."""

    option: str
    path: Path | None
    """The file; None if the option was not given, or names a folder."""
    beside: tuple[Path, ...] = ()
    """Further files: those next to the file, or those in the folder."""


def prepare(outputs: Sequence[Output], inputs: Sequence[Path | str | None]) -> None:
    """Check that every output can be written and is a file of its own, and create its folder.

    Args:
        inputs: the paths that the command reads; names that are not a file, such as those of bundled data, do no harm.

    Raises:
        HalfVError: an output is an input, another output or a folder, or cannot be written.
    """
    _check_different(outputs, inputs)
    for output in outputs:
        if output.path is not None:
            with writing(output.path, output.option):
                _check_writable(output.path, bool(output.beside))


def _check_different(outputs: Sequence[Output], inputs: Sequence[Path | str | None]) -> None:
    from halfv_core.errors import HalfVError

    uses = {_identity(Path(path)): "which the command reads" for path in inputs if path is not None}
    for option, path, beside in outputs:
        own = f"which {option} writes"
        for written in beside if path is None else (path, *beside):
            if os.path.exists(written) and not os.path.isfile(written):  # noqa: PTH110, PTH113 - no error if unreadable
                continue  # several results may go to /dev/null
            use = uses.setdefault(_identity(written), own)
            if use != own:
                raise HalfVError(
                    f"{option} would overwrite another file of this command",
                    got=f"{written}, {use}",
                    expected="a file of its own",
                    remedy=f"choose another {option}",
                )


def _check_writable(path: Path, has_files_beside: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise OSError("Is a directory")
    if path.exists() and not path.is_file():
        if has_files_beside:
            raise OSError("a device or a pipe has no room for the files beside it")
    elif not os.access(path.resolve().parent, os.W_OK):
        raise OSError("no permission to write into its folder")


def _identity(path: Path) -> object:
    """The same value for two paths of one file, by links and by folders that do not exist yet."""
    resolved = os.path.realpath(path)
    try:
        found = os.stat(resolved)
    except OSError:
        return resolved
    return found.st_dev, found.st_ino
