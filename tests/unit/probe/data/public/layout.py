"""What a layout of a public data set is: a file as the data set has it, and what is read from it."""

import base64
import io
from typing import Any, NamedTuple

from PIL import Image

COLOURS = ("navy", "olive", "maroon", "teal", "gray", "lime", "white")


def encoded(colour: str) -> bytes:
    """A small PNG of one colour, of a size of its own."""
    stream = io.BytesIO()
    Image.new("RGB", (40 + COLOURS.index(colour), 30), colour).save(stream, "PNG")
    return stream.getvalue()


def struct(colour: str, path: str | None = None) -> dict[str, Any]:
    return {"bytes": encoded(colour), "path": path}


def text64(colour: str) -> str:
    return base64.b64encode(encoded(colour) + bytes(200)).decode()  # as long as real images are


Asked = tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Question, choices, answers, and the colours of the images in order."""


class Layout(NamedTuple):
    """A file or folder as a data set has it, and what is read from it."""

    name: str
    content: Any
    """Rows, or text."""
    expected: list[Asked]
    images: dict[str, str] = {}
    """File -> colour, in the folder that --images names."""
    beside: dict[str, Any] = {}
    """Further files."""


def ask(question: str, *answers: str, choices: tuple[str, ...] = (), shown: tuple[str, ...] = ("navy",)) -> Asked:
    return question, choices, answers, shown


def statement(text: str) -> str:
    return f"{text}\nIs this statement true? Answer yes or no."


NAVY, OLIVE = struct("navy"), struct("olive")
VOTES = [{"answer": "net", "answer_confidence": "yes", "answer_id": 1}] * 6 + [
    {"answer": "mesh", "answer_confidence": "maybe", "answer_id": 7}
]
FOUR = ("hare", "fox", "owl", "hawk")
LETTERS = dict(zip("ABCD", FOUR, strict=True))
MMBENCH = {
    "hint": "nan",
    "category": "place",
    "source": "made up",
    "l2-category": "x",
    "comment": "nan",
    "split": "dev",
}
LLAVA = [
    {"from": "human", "value": "What is it?\n<image>"},
    {"from": "gpt", "value": "A sheet."},
    {"from": "human", "value": "Is it round?"},
    {"from": "gpt", "value": "No."},
]
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "<image>What is it?"},
    {"role": "assistant", "content": "A sheet."},
]
MMMU = {
    **{"explanation": "", "img_type": "['Tables']", "topic_difficulty": "Easy", "subfield": "x"},
    **{f"image_{number}": None for number in range(3, 8)},
}
