"""A journal of unfinished work, kept beside the result with one JSON line per finished item, so that runs can resume.

with Journal.open(path, key={"model": "x", "seed": 0}) as journal:
    for item in items[len(journal.records) :]:
        journal.add(measure(item))
write(journal.records)
journal.discard()
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

from pydantic import JsonValue

from halfv_core.errors import HalfVError

Record = dict[str, JsonValue]


class Journal:
    """The items finished so far. A record survives a killed process once `add` has returned."""

    def __init__(self, path: Path, stream: IO[bytes], records: list[Record]) -> None:
        self._path = path
        self._stream = stream
        self.records = records
        """Finished items in the order in which they were added, starting with those of earlier runs."""

    @classmethod
    def open(cls, path: Path, key: Mapping[str, JsonValue]) -> "Journal":
        """Start a journal, or resume the one that the same work left behind; an incomplete last line is dropped.

        Args:
            key: everything that the records depend on, as JSON values.

        Raises:
            HalfVError: the file belongs to other work, or is not a journal.
            OSError: the file cannot be read or written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_bytes() if path.exists() else b""
        whole = text[: text.rfind(b"\n") + 1]
        lines = _parsed(path, whole)
        if lines:
            _check_key(path, lines[0].get("key"), json.loads(_line({"key": dict(key)}))["key"])
        stream = path.open("ab")
        stream.truncate(len(whole))
        journal = cls(path, stream, lines[1:])
        if not lines:
            journal._write({"key": dict(key)})
        return journal

    def add(self, record: Record) -> None:
        """Append a finished item; it is on disk when this returns."""
        self._write(record)
        self.records.append(record)

    def discard(self) -> None:
        """Delete the file, once the result has been written."""
        self._stream.close()
        self._path.unlink(missing_ok=True)

    def _write(self, line: Record) -> None:
        self._stream.write(_line(line))
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()


def _line(record: Record) -> bytes:
    """Encode a record; NaN and infinity raise ValueError, since they are not valid JSON."""
    return json.dumps(record, allow_nan=False).encode() + b"\n"


def _parsed(path: Path, text: bytes) -> list[Record]:
    try:
        lines = [json.loads(line) for line in text.splitlines()]
    except ValueError:
        lines = [None]
    if not all(isinstance(line, dict) for line in lines) or (lines and "key" not in lines[0]):
        raise HalfVError(f"{path} is not a journal of unfinished work", remedy="delete it, or choose another --output")
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
