"""Messages: one line of limited length that is safe to print, whatever the value that they quote."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

from halfv_core.errors import HalfVError, first_fault, printable


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


@given(st.text())
def test_a_message_is_one_printable_line(text: str) -> None:
    line = str(HalfVError(f"what {text}", got=text, expected=text, remedy=text))
    assert line.splitlines() == [line]
    assert line.isprintable() or not any(letter < " " or "\x7f" <= letter <= "\x9f" for letter in line)
    line.encode()


@pytest.mark.parametrize("letter", ["\x1b", "\x07", "\x08", "\r", "\x7f", "\x9b", "\ud800", "\u202e", "\u2066"])
def test_what_a_terminal_acts_on_is_replaced(letter: str) -> None:
    assert printable(f"a{letter}b") == "a?b"


def test_other_letters_stay() -> None:
    text = "a\tb\nc\u00a0\u3000ü 図 \u200d👩"
    assert printable(text) == text


@pytest.mark.parametrize("fields", [{"note": "x" * 10**6}, {"n" * 10**6: 1}])
def test_a_value_is_shortened(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        Strict.model_validate(fields)
    assert len(first_fault(caught.value)) < 1000
    assert len(str(HalfVError("bad", got="x" * 10**6))) < 1000
