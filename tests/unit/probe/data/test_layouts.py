"""Layouts of public data sets: a small made-up file in each, read without naming a column."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from halfv_core.errors import DataError
from probe.data.fields import DESCRIBE
from probe.data.samples import Samples, load_samples
from tests.unit.probe.data.public.files import FILES
from tests.unit.probe.data.public.hub import HUB
from tests.unit.probe.data.public.layout import COLOURS, Asked, Layout, ask, encoded
from tests.unit.probe.data.public.more_files import MORE_FILES

LAYOUTS = HUB | FILES | MORE_FILES


def write(path: Path, content: Any) -> Path:
    """Write rows in the format that the name of the file says."""
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(content), path)
    elif path.suffix == ".tsv":
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, content[0], delimiter="\t")
            writer.writeheader()
            writer.writerows(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def load(layout: Layout, folder: Path) -> Samples:
    """Write the files of a layout and read it."""
    for name, colour in layout.images.items():
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "images" / name).write_bytes(encoded(colour))
    for name, content in layout.beside.items():
        write(folder / name, content)
    path = write(folder / layout.name, layout.content)
    return load_samples(path, images=folder / "images" if layout.images else None)


def shown(samples: Samples) -> list[Asked]:
    """What is asked, with the images told by their colours."""
    found: list[Asked] = []
    for sample in samples:
        colours = tuple(COLOURS[image.width - 40] for image in sample.open_images())
        found.append((sample.question, sample.choices, sample.answers, colours))
    return found


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_public_layout_is_read_without_naming_a_column(name: str, tmp_path: Path) -> None:
    samples = load(LAYOUTS[name], tmp_path)
    assert samples.rejected == ()
    assert shown(samples) == LAYOUTS[name].expected


def test_nocaps_and_cocos_captions_are_the_same_layout(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 0, "file_name": "a.jpg", "open_images_id": "0013", "coco_url": ""}],
        "annotations": [{"image_id": 0, "id": 9, "caption": "A cup."}, {"image_id": 5, "id": 1, "caption": "Lost."}],
    }
    layout = Layout("nocaps_val_4500_captions.json", content, [ask(DESCRIBE, "A cup.")], {"a.jpg": "navy"})
    assert shown(load(layout, tmp_path)) == layout.expected


def test_mme_as_its_authors_publish_it(tmp_path: Path) -> None:
    """Images with two questions each in a text of the same name, beside them or in a folder of texts."""
    texts = "Is there a cup?\tYes\nIs there a dog?\tNo\n"
    for place, text in (("existence/a", "existence/a"), ("posters/images/b", "posters/questions_answers_YN/b")):
        for name, data in ((f"{place}.png", encoded("navy")), (f"{text}.txt", texts.encode())):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data)
    samples = load_samples(tmp_path)
    assert shown(samples) == [ask("Is there a cup?", "Yes"), ask("Is there a dog?", "No")] * 2
    assert [sample.family for sample in samples] == ["existence", "existence", "posters", "posters"]


def test_ai2d_as_its_authors_publish_it(tmp_path: Path) -> None:
    for number, right in enumerate((0, 3)):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "questions").mkdir(exist_ok=True)
        (tmp_path / "images" / f"{number}.png").write_bytes(encoded("navy"))
        asked = {
            "abcLabel": False,
            "answerTexts": ["1", "2", "3", "4"],
            "correctAnswer": right,
            "questionId": f"q{number}",
        }
        diagram = {"imageName": f"{number}.png", "questions": {"How many?": asked}}
        (tmp_path / "questions" / f"{number}.png.json").write_text(json.dumps(diagram))
    samples = load_samples(tmp_path / "questions", images=tmp_path / "images")
    assert shown(samples) == [ask("How many?", letter, choices=("1", "2", "3", "4")) for letter in "AD"]
    (tmp_path / "questions" / "2.png.json").write_text("{")
    (row,) = load_samples(tmp_path / "questions", images=tmp_path / "images").rejected
    assert str(row) == "2.png.json: not a JSON object with questions"


@pytest.mark.parametrize(
    "annotations",
    [
        {"annotations": []},
        {"annotations": [{"question_id": 1}]},
        {"other": 1},
        "{",
        {"annotations": 3},
        {"annotations": [3]},
    ],
)
def test_annotations_that_do_not_fit_are_refused(annotations: Any, tmp_path: Path) -> None:
    write(tmp_path / "mscoco_val2014_annotations.json", annotations)
    path = write(
        tmp_path / "OpenEnded_mscoco_val2014_questions.json",
        {"questions": [{"image_id": 1, "question_id": 7, "question": "What?"}]},
    )
    with pytest.raises(DataError, match="the annotations in .* do not fit the questions") as caught:
        load_samples(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 900


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Q", "history": [], "answer": "yes"},
        {"question": "Q", "history": "long ago", "answer": "yes"},
        {"question": "Q", "input": "unused", "instruction": "In one word.", "answer": "yes"},
        {"question": "Q", "identifier": "dev-1", "answer": "yes"},
        {"question": "Q", "filename": "a/b.png", "filepath": "folder", "answer": "yes"},
        {"question": "Q", "gt_answer_details": "x", "answer": "yes"},
    ],
)
def test_columns_of_a_layout_in_other_data_change_nothing(row: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded("navy"))
    samples = load_samples(write(tmp_path / "d.json", [row | {"image": "a.png"}]))
    assert shown(samples) == [ask("Q", "yes")]
