"""Reads AI2D's folder of questions: a JSON file for each diagram, with its questions as keys."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from probe.data.readers.base import Row


def diagram_questions(folder: Path) -> Iterator[Row] | None:
    """The questions about all diagrams; None if the folder holds something else."""
    files = sorted(path for path in folder.glob("*.json") if path.is_file())
    if not files or not isinstance(_read(files[0]).get("imageName"), str):
        return None
    return _rows(files)


def _rows(files: list[Path]) -> Iterator[Row]:
    number = 0
    for file in files:
        diagram = _read(file)
        questions = diagram.get("questions")
        if not isinstance(questions, dict):
            number += 1
            yield Row(file.name, number, {}, "not a JSON object with questions")
            continue
        for question, asked in questions.items():
            number += 1
            values = {"image": diagram.get("imageName"), "question": question}
            if isinstance(asked, dict):
                values |= {"id": asked.get("questionId"), "choices": asked.get("answerTexts")}
                values |= {"correct_choice_idx": asked.get("correctAnswer")}
            yield Row(f"{file.name} {number}", number, values)


def _read(file: Path) -> dict[str, Any]:
    """The object in a file; an empty one if there is none."""
    try:
        value = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
