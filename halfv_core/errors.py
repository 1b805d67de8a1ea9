"""Errors that a user can fix: one line that says what is wrong, what was got, what was expected, and the remedy."""

from pydantic import ValidationError


class HalfVError(Exception):
    """A mistake that the reader of the message can fix; shown as one line, without a traceback.

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
            parts.append(f"got {got}")
        if expected is not None:
            parts.append(f"expected {expected}")
        if remedy is not None:
            parts.append(remedy)
        super().__init__(" ".join("; ".join(parts).split()))


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
    return f"{place}: {fault['msg']}, got {fault['input']!r}"
