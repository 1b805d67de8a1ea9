"""Errors as HTTP answers: a status, and OpenAI's error object with one line."""

from dataclasses import dataclass
from typing import Any

from halfv_core.errors import RunError, printable
from halfv_core.failures import failure_of, reason_of


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """Raised where a request is refused with a status of its own."""

    def __init__(self, status: int, line: str, code: str | None = None) -> None:
        super().__init__(line)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Failure:
    """Why a request was not answered."""

    status: int
    line: str
    code: str | None = None
    traceback: bool = False
    """Whether it is a fault of this project, whose traceback is worth having."""

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """What an exception means for the client."""
        if isinstance(error, Refusal):
            return cls(error.status, printable(str(error)), error.code)
        known = failure_of(error)
        if known is None:
            return cls(500, f"the server failed ({reason_of(error)})", traceback=True)
        return cls(500 if isinstance(known, RunError) else 400, str(known))

    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.line, "type": kind, "param": None, "code": self.code}}
