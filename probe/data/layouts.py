"""Layouts that names of columns alone cannot express: a row in one of them is rewritten to plain columns.

Each function takes any row and returns it unchanged if it is in another layout. To add a layout, add a function and its
name to `LAYOUTS`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from probe.data.values import Values


def plain(values: Values) -> Values:
    """The row with plain columns."""
    for rewrite in LAYOUTS:
        values = rewrite(values)
    return values


def unwrap_doc(values: Values) -> Values:
    """lmms-eval's logs: `doc` holds the fields of the question, next to the logged results."""
    inner = values.get("doc")
    return {**values, **inner} if isinstance(inner, dict) and "question" not in values else values


def join_input(values: Values) -> Values:
    """LLaMA-Factory's Alpaca: the question is `instruction`, followed by `input`, answered by `output`."""
    instruction, given = values.get("instruction"), values.get("input")
    if "output" not in values or "question" in values or not isinstance(instruction, str):
        return values
    if isinstance(given, str) and given.strip():
        return {**values, "instruction": f"{instruction}\n{given}", "input": None}
    return values


def join_history(values: Values) -> Values:
    """ms-swift and LLaMA-Factory: the turns before the last question are pairs in `history`."""
    history = values.get("history")
    question = next((name for name in ("query", "instruction", "prompt") if name in values), None)
    answer = next((name for name in ("response", "output", "answer") if name in values), None)
    if not isinstance(history, list | tuple) or not history or question is None or answer is None:
        return values
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in history):
        return values
    turns = [{"user": asked, "assistant": said} for asked, said in [*history, (values[question], values[answer])]]
    system = values.get("system")
    spoken = [{"role": "system", "content": system}] if isinstance(system, str) and system.strip() else []
    return {**values, question: None, answer: None, "messages": [*spoken, *turns]}


_NLVR2_ID = re.compile(r"((?:train|dev|test1|test2)-\d+-\d+)-\d+")


def name_pair(values: Values) -> Values:
    """NLVR2's JSON: the files of the two images are named by `identifier`, dev-850-0-0 for dev-850-0-img0.png."""
    found = _NLVR2_ID.fullmatch(str(values.get("identifier") or ""))
    if not found or "sentence" not in values or any("image" in name for name in values):
        return values
    kept = {name: value for name, value in values.items() if name != "query"}  # a search for images, no question
    return {**kept, "id": values["identifier"], "images": [f"{found[1]}-img{side}.png" for side in (0, 1)]}


_YES_NO = {"0": "no", "1": "yes"}


def answer_yes_or_no(values: Values) -> Values:
    """HallusionBench: `gt_answer` is 1 for yes and 0 for no; `gt_answer_details` is the reason."""
    answer = _YES_NO.get(str(values.get("gt_answer")))
    return {**values, "gt_answer": answer} if answer and "gt_answer_details" in values else values


def path_of_parts(values: Values) -> Values:
    """Karpathy's COCO: the path of an image is `filepath`, a folder, and `filename`."""
    folder, name = values.get("filepath"), values.get("filename")
    if not isinstance(folder, str) or not isinstance(name, str) or "." in folder or "/" in name:
        return values
    return {**values, "filename": f"{folder}/{name}"}


LAYOUTS: tuple[Callable[[Values], Mapping[str, Any]], ...] = (
    *(unwrap_doc, join_input, join_history, name_pair, answer_yes_or_no, path_of_parts),
)
