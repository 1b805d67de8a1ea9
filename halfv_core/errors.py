"""Errors that a user can fix: one line that says what is wrong, what was got, what was expected, and the remedy."""

import re

from pydantic import ValidationError

UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
"""Control characters, which move the cursor or set the title of a terminal, halves of surrogate pairs, which cannot be
encoded, and overrides of the direction of text, which change what a line seems to say."""
MAX_VALUE = 300
"""Longest value in a message, characters."""


def printable(text: str) -> str:
    """Text from a file or a model as it may be shown on a terminal; line breaks and tabs stay."""
    return UNPRINTABLE.sub("?", text)


def shortened(text: str, length: int) -> str:
    """The text, or its beginning and an ellipsis, with the closing quote if it has one; at most `length` characters."""
    if len(text) <= length:
        return text
    end = "..." + (text[-1] if text[0] in "\"'" and text[-1] == text[0] else "")
    return text[: length - len(end)] + end


class HalfVError(Exception):
    """A mistake that the reader of the message can fix; shown as one line, without a traceback.

    The line is safe to print, whatever the files hold that it quotes.

    Args:
        what: what is wrong, in words.
        got: the offending value, if there is one.
        expected: what would have been right.
        remedy: the command, argument or call that fixes it.
    """

    exit_code = 2

    def __init__(self, what: str, *, got: object = None, expected: object = None, remedy: str | None = None) -> None:
        parts = [what]
        if got is not None:
            parts.append(f"got {shortened(str(got), MAX_VALUE)}")
        if expected is not None:
            parts.append(f"expected {expected}")
        if remedy is not None:
            parts.append(remedy)
        super().__init__(printable(" ".join("; ".join(parts).split())))


class PlanError(HalfVError):
    """A plan that cannot be carried out: unknown selector, layer out of range, keep ratios that grow with depth."""


class ProfileError(HalfVError):
    """A profile that cannot be read, or that was made for another model."""


class ModelError(HalfVError):
    """A model that cannot be loaded, or whose structure is not known."""


class UnsupportedError(HalfVError):
    """An input or a setting that the runtime does not handle; it refuses instead of answering wrongly."""


class DataError(HalfVError):
    """Calibration data that cannot be read."""


class RunError(HalfVError):
    """The input was right, but the run failed."""

    exit_code = 1


def first_fault(error: ValidationError) -> str:
    """The first fault in a pydantic error, as one line: field, message, value."""
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"]) or "value"
    message, value = shortened(fault["msg"], MAX_VALUE), shortened(repr(fault["input"]), MAX_VALUE)
    return f"{shortened(place, MAX_VALUE)}: {message}, got {value}"
