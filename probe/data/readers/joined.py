"""Joins what some data sets keep in two lists: questions with annotations (VQAv2), images with captions (COCO).

The lists are in one file, or in two whose names tell that they belong together.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from halfv_core.errors import DataError


def captioned_images(value: Mapping[str, Any]) -> list[Any] | None:
    """COCO's captions: a row per image, with all of its captions; None if the object is something else.

    Raises:
        DataError: there are several images of one id.
    """
    images, annotations = value.get("images"), value.get("annotations")
    if not _are_objects(images, "id", "file_name") or not _are_objects(annotations, "image_id"):
        return None
    captions: dict[Any, list[Any]] = {image["id"]: [] for image in images or ()}
    if len(captions) < len(images or ()):
        raise DataError("several images have the same id")
    for annotation in annotations or ():
        if annotation.get("caption") and annotation["image_id"] in captions:
            captions[annotation["image_id"]].append(annotation["caption"])
    return [
        {"id": image["id"], "image": image["file_name"], "captions": captions[image["id"]]} for image in images or ()
    ]


def answered_questions(path: Path, questions: list[Any]) -> list[Any]:
    """VQAv2's questions, each with its annotation from the file beside theirs, if there is one.

    Args:
        path: the file of the questions, such as v2_OpenEnded_mscoco_val2014_questions.json; the annotations are in
            v2_mscoco_val2014_annotations.json then.
        questions: its rows.

    Raises:
        DataError: the file of annotations cannot be read, or has none for some question.
    """
    name = path.name.replace("OpenEnded_", "").replace("questions", "annotations")
    beside = path.with_name(name)
    if name == path.name or not beside.is_file() or not _are_objects(questions, "question_id"):
        return questions
    if any("answer" in question or "answers" in question for question in questions):
        return questions
    try:
        listed = json.loads(beside.read_text(encoding="utf-8-sig"))["annotations"]
        annotations = {annotation["question_id"]: annotation for annotation in listed}
        return [annotations[question["question_id"]] | question for question in questions]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(
            f"the annotations in {beside} do not fit the questions in {path.name}",
            got=reason[:200],
            expected="an annotation with the question_id of each question",
            remedy="mend that file or take it away",
        ) from None


def _are_objects(rows: Any, *keys: str) -> bool:
    """Whether this is a list of objects that all have these keys."""
    if not isinstance(rows, list) or not rows:
        return False
    return all(isinstance(row, dict) and _have_plain(row, keys) for row in rows)


def _have_plain(row: Mapping[str, Any], keys: Iterable[str]) -> bool:
    return all(isinstance(row.get(key), str | int) for key in keys)
