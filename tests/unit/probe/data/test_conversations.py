"""Conversations in data: which question is asked, what was said before it, and where the images stand."""

import json
from pathlib import Path
from typing import Any

import pytest

from halfv_core.errors import DataError
from halfv_core.interleaving import IMAGE_PLACE
from probe.data.samples import Sample, data_fingerprint, load_samples
from probe.data.turns import Which
from tests.pictures import noise

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
    {"role": "assistant", "content": "A sheet."},
    {"role": "user", "content": "And <image>?"},
    {"role": "assistant", "content": "A box."},
    {"role": "user", "content": "Are they alike?"},
    {"role": "assistant", "content": "No."},
]
SYSTEM, FIRST, SECOND = ("system", "Be brief."), ("user", "What is it?"), ("user", f"And {IMAGE_PLACE}?")
SHEET, BOX = ("assistant", "A sheet."), ("assistant", "A box.")
EXPECTED = [
    ("s", [SYSTEM], "What is it?", ("A sheet.",), ["0.png"]),
    ("s.2", [SYSTEM, FIRST, SHEET], f"And {IMAGE_PLACE}?", ("A box.",), ["0.png", "1.png"]),
    ("s.3", [SYSTEM, FIRST, SHEET, SECOND, BOX], "Are they alike?", ("No.",), ["0.png", "1.png"]),
]


def load(folder: Path, row: dict[str, Any], questions: Which) -> list[Sample]:
    for number in range(2):
        noise(40 + 10 * number, 40, 60, seed=number).save(folder / f"{number}.png")
    (folder / "data.jsonl").write_text(json.dumps(row))
    return list(load_samples(folder / "data.jsonl", questions=questions))


def read(sample: Sample) -> tuple[str, list[tuple[str, str]], str, tuple[str, ...], list[str]]:
    turns = [(turn.role, turn.text) for turn in sample.turns]
    images = [image.name for image in sample.images if isinstance(image, Path)]
    return sample.id, turns, sample.question, sample.answers, images


@pytest.mark.parametrize("questions", ["first", "last", "all"])
def test_each_question_comes_with_what_was_said_before_and_its_images(questions: Which, tmp_path: Path) -> None:
    samples = load(tmp_path, {"id": "s", "messages": CHAT, "images": ["0.png", "1.png"]}, questions)
    expected = {"first": EXPECTED[:1], "last": [("s", *EXPECTED[2][1:])], "all": EXPECTED}[questions]
    assert [read(sample) for sample in samples] == expected


def test_images_inside_the_messages(tmp_path: Path) -> None:
    parts = [{"type": "image", "path": "1.png"}, {"type": "text", "text": "Why?"}]
    said = [{"role": "user", "content": [{"type": "image", "image": "0.png"}]}, {"role": "assistant", "content": "Hm."}]
    (sample,) = load(tmp_path, {"id": "s", "messages": [*said, {"role": "user", "content": parts}]}, "last")
    assert read(sample)[1:3] == ([("user", ""), ("assistant", "Hm.")], f"{IMAGE_PLACE} Why?")
    assert sample.messages == [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": ""}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Hm."}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": " Why?"}]},
    ]


def test_pairs_of_a_history_are_turns(tmp_path: Path) -> None:
    """As ms-swift and LLaMA-Factory have them."""
    row = {
        **{"query": "And?", "response": "So.", "system": "Be brief.", "images": ["0.png"]},
        "history": [["<image>What is it?", "A sheet."]],
    }
    (first,), (last,) = (load(tmp_path, row, questions) for questions in ("first", "last"))
    assert read(first)[1:] == ([SYSTEM], "What is it?", ("A sheet.",), ["0.png"])
    assert read(last)[1:] == ([SYSTEM, FIRST, SHEET], "And?", ("So.",), ["0.png"])


def test_a_conversation_with_somebody_else_is_refused_unless_its_first_question_is_asked(tmp_path: Path) -> None:
    turns = [*CHAT[1:3], {"role": "tool", "content": "42"}, CHAT[-2]]
    row = {"messages": turns, "images": ["0.png"]}
    assert load(tmp_path, row, "first")[0].turns == ()
    with pytest.raises(DataError, match="somebody else speaks .*; got 'tool'; expected system, user or assistant"):
        load(tmp_path, row, "last")


def test_the_fingerprint_depends_on_what_was_said_before(tmp_path: Path) -> None:
    (sample,) = load(tmp_path, {"id": "s", "messages": CHAT, "images": ["0.png", "1.png"]}, "last")
    alone = sample.model_copy(update={"turns": ()})
    assert data_fingerprint([sample]) != data_fingerprint([alone])
    assert sample.text.startswith("system: Be brief.\nuser: What is it?\nassistant: A sheet.\nuser: And")
    assert alone.text == alone.prompt == "Are they alike?"


def test_more_places_than_images_are_refused() -> None:
    sample = Sample(
        id="s", images=(Path("0.png"),), question=f"{IMAGE_PLACE}?", turns=({"role": "user", "text": IMAGE_PLACE},)
    )
    with pytest.raises(DataError, match="places for more images than there are; got 2; expected 1"):
        assert sample.messages
