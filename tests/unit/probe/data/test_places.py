"""References to images in texts: they stay as words, and become the places of the images."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from halfv_core.interleaving import IMAGE_PLACE as P
from probe.data.places import MARK, place
from probe.data.samples import Sample, data_fingerprint, load_samples


@pytest.mark.parametrize(
    ("texts", "numbers", "expected", "order"),
    [
        (["What is it?"], [1], ["What is it?"], (0,)),
        (["What is it?"], [1, 2], ["What is it?"], (0, 1)),
        (["<image>\nWhat is it?"], [1], ["What is it?"], (0,)),
        (["<image><image>\nWhich?"], [1, 2], ["Which?"], (0, 1)),
        (["What is it?\n<image>"], [1], [f"What is it?\n{P}"], (0,)),
        (["Is <image> like <image>?"], [1, 2], [f"Is {P} like {P}?"], (0, 1)),
        (["Is <image> like <image>?"], [1], [f"Is {P} like ?"], (0,)),
        (["Is <image> like <image>?"], [1, 2, 3], [f"Is {P} like {P}?"], (2, 0, 1)),
        (["<image 1> Is <image 2> alike?"], [1, 2], [f"image 1 Is {P}image 2 alike?"], (0, 1)),
        (["Is <image 2> like <image 1>?"], [1, 2], [f"Is {P}image 2 like {P}image 1?"], (1, 0)),
        (["Is <image2>like<IMAGE_1>?"], [1, 2], [f"Is {P}image 2 like {P}image 1?"], (1, 0)),
        (["In <image 2>, then in <image 2>"], [1, 2], [f"In {P}image 2, then in image 2"], (0, 1)),
        (["In <image 3> there"], [1, 2], ["In image 3 there"], (0, 1)),
        (["In <image 3> there"], [1, 3], [f"In {P}image 3 there"], (0, 1)),
        (["<image 0> and <image 1>"], [0, 1], [f"image 0 and {P}image 1"], (0, 1)),
        (["Which?", "<image 2>", "<image 1>"], [1, 2], ["Which?", f"{P}image 2", f"{P}image 1"], (1, 0)),
        (["", "<image>\nWhich?", "no"], [1], ["", "Which?", "no"], (0,)),
        (["Look.", "<image>\nWhich?"], [1], ["Look.", f"{P}\nWhich?"], (0,)),
        (["Watch <video> now"], [1, 2, 3], [f"Watch {P}{P}{P} now"], (0, 1, 2)),
        (["<video>\nWhat happens?"], [1, 2, 3], ["What happens?"], (0, 1, 2)),
        (["<|vision_start|><|image_pad|><|vision_end|>Why?"], [1], ["Why?"], (0,)),
        (["Why <|vision_start|><|image_pad|><|vision_end|> so?"], [1], [f"Why {P} so?"], (0,)),
        (["a  <image>  b"], [], ["a b"], ()),
    ],
)
def test_references_become_words_and_places(
    texts: list[str], numbers: list[int], expected: list[str], order: tuple[int, ...]
) -> None:
    assert place(texts, numbers) == (tuple(expected), order, ())


PIECES = st.sampled_from(
    ["<image>", "<image 1>", "<image 2>", "<image_3>", "<video>", "word", " ", "\n", "<", "9", "é"]
)
TEXTS = st.lists(st.lists(PIECES, max_size=6).map("".join), min_size=1, max_size=4)


@settings(max_examples=300, deadline=None)
@given(texts=TEXTS, numbers=st.sampled_from([[], [1], [1, 2], [1, 2, 3], [0, 1], [2, 5]]))
def test_every_image_has_one_place_and_no_mark_is_left(texts: list[str], numbers: list[int]) -> None:
    placed, order, _ = place(texts, numbers)
    assert sorted(order) == list(range(len(numbers)))
    assert sum(text.count(P) for text in placed) <= len(numbers)
    assert not any(MARK.search(text) for text in placed)
    assert "".join("".join(placed).split())[:1] != P
    if not any(MARK.search(text) for text in texts):
        assert placed == tuple(text.strip() for text in texts)
    words = sum(text.count("word") for text in texts)
    assert sum(text.count("word") for text in placed) == words


@pytest.mark.parametrize("unit", [" ", "\t", "<image>", "<image 1>", " <image> ", "<|vision_start|>"])
def test_long_texts_take_time_in_proportion(unit: str) -> None:
    began = time.process_time()
    place(["a" + unit * 50_000 + "b"], [1])
    assert time.process_time() - began < 2


def load(folder: Path, row: dict[str, Any]) -> Sample:
    for number, name in enumerate("abc"):
        Image.new("RGB", (8 + number, 8)).save(folder / f"{name}.png")
    (folder / "d.jsonl").write_text(json.dumps(row))
    return load_samples(folder / "d.jsonl")[0]


def names(sample: Sample) -> str:
    return "".join(getattr(image, "stem", "?") for image in sample.images)


def test_images_come_in_the_order_of_the_prompt(tmp_path: Path) -> None:
    row = {"image_1": "a.png", "image_2": "b.png", "image_3": "c.png", "question": "Which is like <image 3>?"}
    sample = load(tmp_path, row | {"options": ["<image 2>", "neither"], "answer": "A"})
    assert names(sample) == "acb"
    assert sample.question == f"Which is like {P}image 3?"
    assert sample.choices == (f"{P}image 2", "neither")


def test_numbers_are_those_of_the_columns(tmp_path: Path) -> None:
    row = {"image_1": None, "image_2": "b.png", "image_3": "c.png", "question": "Compare <image 3> with <image 2>."}
    sample = load(tmp_path, row)
    assert (names(sample), sample.question) == ("cb", f"Compare {P}image 3 with {P}image 2.")


def test_lists_may_count_from_zero(tmp_path: Path) -> None:
    sample = load(tmp_path, {"images": ["a.png", "b.png"], "question": "Is <image 1> like <image 0>?"})
    assert (names(sample), sample.question) == ("ba", f"Is {P}image 1 like {P}image 0?")


def test_a_chat_has_its_images_where_its_parts_are(tmp_path: Path) -> None:
    parts = [
        *({"type": "text", "text": "Is"}, {"type": "image", "path": "b.png"}, {"type": "text", "text": "like"}),
        *({"type": "image", "path": "a.png"}, {"type": "text", "text": "this?"}),
    ]
    sample = load(tmp_path, {"messages": [{"role": "user", "content": parts}]})
    assert (names(sample), sample.question) == ("ba", f"Is {P} like {P} this?")
    beside = [{"type": "image"}, {"type": "text", "text": "Which?"}, {"type": "image"}]
    sample = load(tmp_path, {"images": ["a.png", "b.png"], "messages": [{"role": "user", "content": beside}]})
    assert (names(sample), sample.question) == ("ab", f"Which? {P}")


def test_the_images_of_later_questions_are_not_shown(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": f"<image>\n{text}"} for text in ("One?", "Two?")]
    sample = load(tmp_path, {"images": ["a.png", "b.png"], "conversations": turns})
    assert (names(sample), sample.question) == ("a", "One?")


def test_the_place_character_of_a_text_is_no_place(tmp_path: Path) -> None:
    sample = load(tmp_path, {"image": "a.png", "question": f"What {P}is it?", "answer": f"a{P}"})
    assert (sample.question, sample.answers) == ("What is it?", ("a",))


def test_the_fingerprint_sees_places(tmp_path: Path) -> None:
    first = load(tmp_path, {"image": "a.png", "question": "Is <image> round?"})
    last = load(tmp_path, {"image": "a.png", "question": "Is round? <image>"})
    assert data_fingerprint([first]) != data_fingerprint([last])
