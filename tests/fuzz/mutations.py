"""Ways to damage a file: bytes of any file, the structure of JSON, cells of a table, headers of safetensors.

Every function takes the file's bytes and a generator of random numbers, and returns the damaged bytes.
"""

import copy
import json
import math
import random
import struct
from collections.abc import Callable
from typing import Any

Mutation = Callable[[bytes, random.Random], bytes]

DEEP = 60_000
"""Brackets within brackets, more than any parser of JSON takes."""

VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    "",
    " ",
    "x",
    "nan",
    "../../etc/passwd",
    "a\nb\rc",
    "\x1b[2J\x1b]0;title\x07\x00",
    "\ud83d",
    "\u202eevil",
    "é" * 5000,
    "A" * 300_000,
    0,
    1,
    2,
    3,
    7,
    -1,
    -1000,
    100_000,
    10**6,
    2**31,
    2**63,
    10**12,
    10**30,
    10**400,
    0.5,
    -0.5,
    1e-320,
    1e38,
    1e308,
    -1e308,
    math.nan,
    math.inf,
    -math.inf,
    [],
    {},
    [[]],
    [None],
    [1, 2, 3],
    ["a", 1, None],
    {"": ""},
    {"a": {"b": {"c": []}}},
    [[[[[[[[[[1]]]]]]]]]],
)
"""Values of the wrong kind or size for almost any field."""

TEXTS = ("", " ", "nan", "-", "inf", "-1e309", "1e-400", "1_0", "0x10", "٣", "9" * 5000, '"', "'", "\x00", "\x1b[31m")
"""Cells of a table that look like numbers or break its form."""


def damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    """Truncate, flip, insert, remove, swap, zero, repeat or append: one to three times."""
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        start, length = _span(result, rng)
        kind = rng.randrange(9)
        if kind == 0:
            del result[start:]
        elif kind == 1:
            for _ in range(rng.randint(1, 8)):
                if result:
                    result[rng.randrange(len(result))] ^= 1 << rng.randrange(8)
        elif kind == 2:
            result[start:start] = rng.randbytes(length)
        elif kind == 3:
            del result[start : start + length]
        elif kind == 4:
            other, _ = _span(result, rng)
            first, second = bytes(result[start : start + length]), bytes(result[other : other + length])
            result[start : start + length], result[other : other + length] = second, first
        elif kind == 5:
            result[start : start + length] = bytes(len(result[start : start + length]))
        elif kind == 6:
            result[start:start] = result[start : start + length]
        elif kind == 7:
            number = rng.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x10000, 0xFFFF))
            result[start : start + 4] = struct.pack(rng.choice("<>") + "I", number)
        else:
            result += rng.randbytes(length)
    return bytes(result)


def _span(data: bytearray, rng: random.Random) -> tuple[int, int]:
    """A place, more often near the beginning, where headers are, and a length."""
    size = max(1, len(data))
    start = rng.randrange(min(size, 64)) if rng.random() < 0.4 else rng.randrange(size)
    return start, rng.choice((1, 2, 4, 16, 100))


def damaged_json(data: bytes, rng: random.Random) -> bytes:
    """Change keys and values of a JSON document, seldom its text."""
    if rng.random() < 0.12:
        return _damaged_text(data, rng)
    root = [json.loads(data)]
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        _edit(*_place(root, rng), rng)
    return _dumped(root[0], rng)


def damaged_json_lines(data: bytes, rng: random.Random) -> bytes:
    """Change some lines of a file with one JSON document a line."""
    lines = data.splitlines()
    for _ in range(rng.choice((1, 2, len(lines)))):
        index = rng.randrange(len(lines))
        try:
            lines[index] = damaged_json(lines[index], rng)
        except (ValueError, RecursionError):  # damaged before
            lines[index] = b""
    if rng.random() < 0.2:
        lines.append(rng.choice(lines))
    return b"\n".join(lines)


def _place(root: list[Any], rng: random.Random) -> tuple[Any, Any]:
    """A container and one of its keys; each level as likely as the next, however long its lists are."""
    container, key = root, 0
    while isinstance(container[key], dict | list) and container[key] and rng.random() < 0.75:
        container = container[key]
        key = rng.choice(list(container)) if isinstance(container, dict) else rng.randrange(len(container))
    return container, key


def _edit(container: Any, key: Any, rng: random.Random) -> None:
    value, kind = container[key], rng.randrange(10)
    if kind == 0:
        del container[key]
        if not container and isinstance(container, list):
            container.append(None)  # the root stays a document
    elif kind == 1 and isinstance(value, int | float) and not isinstance(value, bool):
        container[key] = value * rng.choice((-1, 10, 1000, 10**9)) if rng.random() < 0.7 else str(value)
    elif kind == 2 and isinstance(value, list) and value:
        container[key] = rng.choice(
            (value[:-1], [*value, copy.deepcopy(value[-1])], copy.deepcopy(value * 2), value[::-1], value[:1])
        )
    elif kind == 3 and isinstance(container, dict):
        container[rng.choice(("", "x", "id", f"{key} ", "\n", "\x1b[1m"))] = container.pop(key)
    elif kind == 4:
        container[key] = rng.choice(([value], {"value": value}, [value, copy.deepcopy(value)], repr(value)[:1000]))
    elif kind == 5 and isinstance(container, dict) and len(container) > 1:
        container[key] = copy.deepcopy(container[rng.choice(list(container))])
    else:
        container[key] = copy.deepcopy(rng.choice(VALUES))


def _dumped(value: Any, rng: random.Random) -> bytes:
    text = json.dumps(value, ensure_ascii=rng.random() < 0.8)
    return text.encode("utf-8", errors="surrogatepass")


def _damaged_text(data: bytes, rng: random.Random) -> bytes:
    """What no writer of JSON would write: doubled keys, deep nesting, endless numbers, other encodings."""
    middle = data.find(b":", rng.randrange(max(1, len(data)))) + 1
    first_key = data.find(b"{") + 1
    return rng.choice(
        (
            b"[" * DEEP,
            b'{"a":' * DEEP,
            data[:middle] + b"[" * DEEP + b"]" * DEEP + data[middle:],
            data[:middle] + b"9" * 6000 + b"," + data[middle:],
            data[:first_key] + b'"id": 1, "id": [2], ' + data[first_key:],
            data[:middle] + b"NaN" + data[middle:],
            data + data,
            data.replace(b'"', b"'"),
            data.decode(errors="replace").encode("utf-16"),
            b"\xef\xbb\xbf" + data,
            data[:middle] + b"\xff\xfe" + data[middle:],
            data.replace(b"\n", b"\r\n"),
            b"",
            b"\n",
            b"null",
            damaged_bytes(data, rng),
        )
    )


def damaged_table(data: bytes, rng: random.Random) -> bytes:
    """Change cells, names of columns and the number of cells of a CSV or TSV file, or its bytes."""
    if rng.random() < 0.3:
        return damaged_bytes(data, rng)
    delimiter = "\t" if b"\t" in data else ","
    rows = [line.split(delimiter) for line in data.decode().splitlines()]
    for _ in range(rng.choice((1, 1, 2, 5))):
        row = rng.choice(rows) if rng.random() < 0.7 else rows[0]
        kind = rng.randrange(6)
        if kind == 0:
            row.append(rng.choice(TEXTS))
        elif kind == 1:
            del row[-1:]
        elif kind == 2:
            rows.insert(rng.randrange(len(rows)), list(row))
        elif kind == 3 and len(rows) > 1:
            rows.remove(row)
        elif row:
            row[rng.randrange(len(row))] = rng.choice(TEXTS)
    end = rng.choice(("\n", "\n", "\r\n", "\r"))
    return end.join(map(delimiter.join, rows)).encode(rng.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16")))


def damaged_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Change the JSON header of a safetensors file, its length, or the bytes."""
    if rng.random() < 0.3:
        return damaged_bytes(data, rng)
    (length,) = struct.unpack("<Q", data[:8])
    header = damaged_json(data[8 : 8 + length], rng)
    stated = len(header) if rng.random() < 0.8 else rng.choice((0, 1, length // 2, 2**31, 2**63, 2**64 - 1))
    return struct.pack("<Q", stated) + header + data[8 + length :]


def any_of(*mutations: Mutation) -> Mutation:
    """One of several ways."""

    def mutation(data: bytes, rng: random.Random) -> bytes:
        return rng.choice(mutations)(data, rng)

    return mutation
