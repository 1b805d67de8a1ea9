"""Images inside a user's turn: the parts of the turn, and what a processor makes of them."""

from pathlib import Path

import pytest
from PIL import Image

from halfv_core.errors import DataError
from halfv_core.interleaving import IMAGE_PLACE as P
from halfv_core.interleaving import user_content
from halfv_core.processors import load_processor
from tests.checkpoints import save_checkpoint

IMAGE = {"type": "image"}


def text(value: str) -> dict[str, str]:
    return {"type": "text", "text": value}


@pytest.mark.parametrize(
    ("images", "question", "expected"),
    [
        (0, "a", [text("a")]),
        (1, "a", [IMAGE, text("a")]),
        (1, "", [IMAGE, text("")]),
        (2, f"a{P}b", [IMAGE, text("a"), IMAGE, text("b")]),
        (2, f"a {P} b {P}", [text("a "), IMAGE, text(" b "), IMAGE]),
        (2, f"{P}{P}", [IMAGE, IMAGE]),
    ],
)
def test_images_stand_in_front_or_at_their_places(images: int, question: str, expected: list[dict[str, str]]) -> None:
    assert user_content(images, question) == expected


def test_more_places_than_images_are_refused() -> None:
    with pytest.raises(DataError, match="places for more images than there are; got 2; expected 1"):
        user_content(1, f"{P}{P}")


@pytest.mark.parametrize("family", ["qwen2_5_vl", "llava"])
def test_a_prompt_has_its_images_at_their_places(family: str, tmp_path: Path) -> None:
    processor = load_processor(str(save_checkpoint(family, tmp_path)))
    pictures = [Image.new("RGB", (64, 64), colour) for colour in ("navy", "white")]
    front = processor.prompt(pictures, "w8 w9")["input_ids"][0].tolist()
    inside = processor.prompt(pictures, f"w8 {P} w9 {P}")["input_ids"][0].tolist()
    eight, nine = (processor.encode(word)[0].item() for word in ("w8", "w9"))
    assert sorted(set(front)) == sorted(set(inside))
    assert front.index(eight) + 1 == front.index(nine)
    assert inside.index(nine) - inside.index(eight) > 4  # the visual tokens of the first image are between them


def test_a_question_that_spells_the_image_token_is_refused(tmp_path: Path) -> None:
    processor = load_processor(str(save_checkpoint("qwen2_5_vl", tmp_path)))
    with pytest.raises(DataError, match=r"spells a token that stands for images; got <\|image_pad\|>"):
        processor.prompt([Image.new("RGB", (64, 64))], "What is <|image_pad|>?")
