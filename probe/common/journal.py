"""A journal of unfinished work, kept beside the result with one JSON line per finished item, so that runs can resume.

with Journal.open(path, key={"model": "x", "seed": 0}) as journal:
    for item in items[len(journal.records) :]:
        journal.add(measure(item))
write(journal.records)
journal.discard()
"""

import errno
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

from pydantic import JsonValue

from halfv_core.errors import HalfVError
from halfv_core.ranks import ALONE, Ranks

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Record = dict[str, JsonValue]

_SUM = "crc32"
"""Field of each line with the checksum of the others."""
_REMEDY = "delete it, or choose another --output"


class Journal:
    """The items finished so far. A record survives a killed process once `add` has returned."""

    def __init__(self, path: Path, stream: IO[bytes] | None, records: list[Record]) -> None:
        self._path = path
        self._stream = stream
        self.records = records
        """Finished items in the order in which they were added, starting with those of earlier runs."""

    @classmethod
    def open(cls, path: Path, key: Mapping[str, JsonValue], ranks: Ranks = ALONE) -> "Journal":
        """Start a journal, or resume the one that the same work left behind; an incomplete last line is dropped.

        The file is locked until the journal is closed or the process ends, so that two runs cannot mix their records.

        Args:
            key: everything that the records depend on, as JSON values.
            ranks: the processes that do this work together, all of which must call this. The first one alone has the
                file; the others get its records.

        Raises:
            HalfVError: the file belongs to other work, is in use by another run, is damaged, or is not a journal.
            OSError: the file cannot be read or written.
        """
        journal, fault = None, None
        if ranks.is_first:
            try:
                journal = cls._open(path, key)
            except (HalfVError, OSError) as error:
                fault = error
        fault, records = ranks.agreed_value((fault, journal.records if journal else []))
        if fault is not None:
            raise fault
        return journal or cls(path, None, records)

    @classmethod
    def _open(cls, path: Path, key: Mapping[str, JsonValue]) -> "Journal":
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = _locked(path)
        try:
            text = stream.read()
            whole = text[: text.rfind(b"\n") + 1]
            lines = _parsed(path, whole)
            if lines:
                _check_key(path, lines[0].get("key"), _as_stored(key))
            stream.truncate(len(whole))
            journal = cls(path, stream, lines[1:])
            if not lines:
                journal._write({"key": dict(key)})
        except BaseException:
            stream.close()
            raise
        return journal

    def add(self, record: Record) -> None:
        """Append a finished item; it is on disk when this returns."""
        self._write(record)
        self.records.append(record)

    def damaged(self, fault: str) -> HalfVError:
        """The error for a record that is JSON, but not what this work writes."""
        return HalfVError(f"{self._path} is damaged", got=fault, expected="records of this work", remedy=_REMEDY)

    def discard(self) -> None:
        """Delete the file, once the result has been written."""
        self._close()
        if self._stream is not None:
            self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def _write(self, line: Record) -> None:
        if self._stream is None:  # another process has the file
            return
        self._stream.write(_line(line))
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()


def left_records(path: Path, key: Mapping[str, JsonValue]) -> list[Record]:
    """The records of a journal that nobody has open, such as that of a process which is not there any more.

    Raises:
        HalfVError: the file belongs to other work, is damaged, or is not a journal.
        OSError: the file cannot be read.
    """
    try:
        with path.open("r+b") as stream:
            _lock(stream)
            text = stream.read()
    except (BlockingIOError, FileNotFoundError):  # a process that is there gives its own records
        return []
    lines = _parsed(path, text[: text.rfind(b"\n") + 1])
    if lines:
        _check_key(path, lines[0].get("key"), _as_stored(key))
    return lines[1:]


def _locked(path: Path) -> IO[bytes]:
    """Open the file for reading and appending, locked against other processes.

    A run that finishes deletes its journal. If that happens between opening and locking, the lock is on a file that is
    gone, and the file is opened anew.
    """
    while True:
        stream = path.open("a+b")
        try:
            _lock(stream)
            same = path.exists() and os.path.samestat(os.fstat(stream.fileno()), path.stat())
        except BlockingIOError:
            stream.close()
            raise HalfVError(
                f"{path} is in use by another run",
                expected="one run for each output",
                remedy="wait until it ends, or choose another --output",
            ) from None
        except BaseException:
            stream.close()
            raise
        if same:
            stream.seek(0)
            return stream
        stream.close()


def _lock(stream: IO[bytes]) -> None:
    """Lock a file for this process; BlockingIOError if another one has it. Does nothing where files have no locks."""
    if fcntl is None:
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
            raise


def _as_stored(key: Mapping[str, JsonValue]) -> JsonValue:
    """The key as it is read again."""
    stored: JsonValue = json.loads(_line({"key": dict(key)}))["key"]
    return stored


def _line(record: Record) -> bytes:
    """Encode a record with its checksum; NaN and infinity raise ValueError, since they are not valid JSON."""
    return json.dumps({**record, _SUM: _sum(record)}, allow_nan=False).encode() + b"\n"


def _sum(record: Record) -> int:
    return zlib.crc32(json.dumps(record).encode())


def _parsed(path: Path, text: bytes) -> list[Record]:
    try:
        lines = [json.loads(line) for line in text.splitlines()]
    except (ValueError, RecursionError):
        lines = [None]
    if not all(isinstance(line, dict) for line in lines) or (lines and "key" not in lines[0]):
        raise HalfVError(f"{path} is not a journal of unfinished work", remedy=_REMEDY)
    if any("key" in line for line in lines[1:]):
        raise HalfVError(f"{path} holds the mixed records of two runs", expected="those of one", remedy=_REMEDY)
    for number, line in enumerate(lines, start=1):
        if line.pop(_SUM, None) != _sum(line):
            raise HalfVError(f"{path} is damaged", got=f"line {number} with another checksum", remedy=_REMEDY)
    return lines


def _check_key(path: Path, stored: JsonValue, expected: JsonValue) -> None:
    """Refuse a journal with another key, naming the first field that differs."""
    if stored == expected:
        return
    old, new = (key if isinstance(key, dict) else {} for key in (stored, expected))
    name = next(name for name in [*new, *old, ""] if old.get(name) != new.get(name) or not name)
    raise HalfVError(
        f"{path} holds unfinished work with another {name}",
        got=_short(new.get(name)),
        expected=_short(old.get(name)),
        remedy="choose another --output, or delete it to begin anew",
    )


def _short(value: JsonValue) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
