"""Reads text within a limit; writes result files whole or not at all, and as readable as the user's settings allow."""

import errno
import os
import secrets
import stat
from pathlib import Path

MAX_TEXT = 200_000_000
"""Largest text file of this project's own formats, bytes; a device such as /dev/zero has no end."""


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """The text of a file or a pipe, with line ends as they are.

    Raises:
        OSError: the file cannot be read, or has more than `MAX_TEXT` bytes.
        UnicodeDecodeError: it is not text in this encoding.
    """
    with path.open("rb") as stream:
        data = stream.read(MAX_TEXT + 1)
    if len(data) > MAX_TEXT:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return data.decode(encoding)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write the whole file or nothing: write to a temporary file in the same folder, then rename it.

    An old file keeps its permissions, and a new one gets those of the umask. A symbolic link is followed. A character
    device or a pipe, such as /dev/null, is written to and stays what it is.

    Args:
        path: the file; its folder is created.
        content: text is written as UTF-8.

    Raises:
        OSError: the path cannot be written, or is a folder, a disk or a socket.
    """
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        old = path.stat().st_mode
    except FileNotFoundError:
        old = None
    if old is not None and not stat.S_ISREG(old):
        _write_through(path, old, data)
        return
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}.tmp")
    # The mode is given on creation, so that nobody else can open the file while it is being written.
    mode = 0o666 if old is None else stat.S_IMODE(old) & 0o777
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if old is not None:
            os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _write_through(path: Path, mode: int, data: bytes) -> None:
    """Write to what is not a regular file; renaming a file over it would destroy it."""
    if not (stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)):
        raise OSError(0, "Is a directory" if stat.S_ISDIR(mode) else "Is not a regular file", str(path))
    with path.open("wb") as stream:
        stream.write(data)
