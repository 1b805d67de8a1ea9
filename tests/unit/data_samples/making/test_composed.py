"""Composed pictures: what captions become, which cut-outs are used, and that answers agree with what is to be seen."""

import re
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from data_samples.making.composed.captions import content_words, from_name, from_sentence
from data_samples.making.composed.cutouts import Cutouts, Kind, confusable, read_cutouts
from data_samples.making.composed.pictures import WORDS, Composed, compose
from data_samples.making.composed.questions import FAMILIES, ask, shuffled
from data_samples.making.composed.samples import one_question_each
from data_samples.making.generator.content import CHARACTERS, COLUMNS, ROWS
from data_samples.making.generator.drawing import SIZE
from data_samples.making.generator.phrases import plural
from halfv_core.errors import DataError
from tests.cutouts import NOUNS, color_of, draw_cutout, write_cutouts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cutouts(tmp_path_factory.mktemp("cutouts"))


@pytest.fixture(scope="module")
def cutouts(folder: Path) -> Cutouts:
    return read_cutouts([folder])


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("A frog.", "frog"),
        ("A brown hen! Cluck.", "brown hen"),
        ("An old-fashioned clothespin.", "old-fashioned clothespin"),
        ("A wizard’s hat.", "wizard's hat"),
        ("A cup of coffee.", "cup of coffee"),
        ("A calculator.  6x7=42", "calculator"),
        ("Say cheese!", None),
        ("The letter a.", None),
        ("A ripe, red tomato!", None),
        ("A flower covered in dew drops.", None),
        ("A spider playing computer games.", None),
        ("A European coin of 10 cents (0.10 €).", None),
        ("", None),
    ],
)
def test_captions_from_sentences(text: str, phrase: str | None) -> None:
    assert from_sentence(text) == phrase


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Cartoon Cat", "cartoon cat"),
        ("arrow-up_blue 03", "arrow up blue"),
        ("hill - rpg map elements 7", "hill"),
        ("bacon (b and w)", "bacon"),
        ("the_bus_01", "bus"),
        ("blueman_101_02", "blueman"),
        ("balloons", None),
        ("star_19pt02step", None),
        ("white_h_4", None),
        ("clipart by nobody - bee", None),
        ("danger général", None),
        ("0123", None),
    ],
)
def test_captions_from_names(text: str, phrase: str | None) -> None:
    assert from_name(text) == phrase


@pytest.mark.parametrize(
    ("one", "several"),
    [("cherry", "cherries"), ("fire truck", "fire trucks"), ("cup of tea", "cups of tea"), ("snowman", "snowmen")]
    + [("toy", "toys"), ("cross", "crosses"), ("box", "boxes"), ("human", "humans")],
)
def test_plurals(one: str, several: str) -> None:
    assert plural(one) == several


def kind(caption: str, *folders: str) -> Kind:
    return Kind(caption, content_words([caption]), content_words(folders), ())


def test_captions_that_share_words_may_be_right_for_each_other() -> None:
    assert confusable(kind("apple"), kind("red apple"))
    assert confusable(kind("bird"), kind("penguin", "animals", "birds"))
    assert confusable(kind("penguin", "animals", "birds"), kind("bird"))
    assert confusable(kind("gull"), kind("seagull"))
    assert confusable(kind("bunny"), kind("little rabbit"))
    assert not confusable(kind("cat", "animals"), kind("dog", "animals"))
    assert not confusable(kind("cup of tea"), kind("bag of rice"))


def test_all_usable_cutouts_are_found_and_a_tenth_of_the_captions_is_held_out(cutouts: Cutouts) -> None:
    captions = [[kind.caption for kind in kinds] for kinds in (cutouts.trained, cutouts.held_out)]
    assert sorted(captions[0] + captions[1]) == sorted(NOUNS)
    assert all(part == sorted(part) for part in captions)
    assert 0 < len(captions[1]) < len(NOUNS) / 4
    assert cutouts.skipped == {}


def test_what_cannot_be_used_is_skipped_and_counted(folder: Path, tmp_path: Path) -> None:
    write_cutouts(tmp_path)
    named = tmp_path / "named"
    Image.new("RGB", (80, 80), "red").save(named / "opaque.png")
    Image.new("RGBA", (80, 80), "red").save(named / "filled.png")
    Image.new("RGBA", (80, 80)).save(named / "invisible.png")
    draw_cutout("acorn").resize((40, 40)).save(named / "tiny.png")
    draw_cutout("acorn").resize((400, 20)).save(named / "thin.png")
    (named / "damaged.png").write_bytes((named / "acorn.png").read_bytes()[:60])
    (named / "nothing.png").write_bytes(b"")
    draw_cutout("acorn").save(named / "many_words_say_too_much.png")
    draw_cutout("acorn").save(tmp_path / "captioned" / "without_text.png")
    titled = PngImagePlugin.PngInfo()
    titled.add_text("Title", "Sewing Machine")
    draw_cutout("acorn").save(named / "sewing_machine_by_somebody_01.png", pnginfo=titled)
    found = read_cutouts([tmp_path])
    assert found.skipped == {
        "without transparency": 2,
        "too small": 2,
        "too thin": 1,
        "damaged": 2,
        "without a caption that is a short noun phrase": 2,
    }
    kinds = (*found.trained, *found.held_out)
    assert {kind.caption for kind in kinds} == {*NOUNS, "sewing machine"}
    assert "2 damaged" in str(found)


def test_the_hash_is_of_what_is_used(folder: Path, cutouts: Cutouts, tmp_path: Path) -> None:
    again = write_cutouts(tmp_path / folder.name)
    (again / "readme.md").write_text("about")
    assert read_cutouts([again]).sha256 == cutouts.sha256
    draw_cutout("badger").save(again / "named" / "acorn.png")
    assert read_cutouts([again]).sha256 != cutouts.sha256
    write_cutouts(again)
    (again / "captioned" / "badger.txt").write_text("A mole.")
    assert read_cutouts([again]).sha256 != cutouts.sha256


def test_too_few_cutouts_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--cutouts does not exist"):
        read_cutouts([folder, tmp_path / "nothing"])
    draw_cutout("acorn").save(tmp_path / "acorn.png")
    with pytest.raises(DataError, match="too few cut-outs; got 1 cut-outs with 1 captions"):
        read_cutouts([tmp_path])


class Seen:
    """A composed picture as its pixels tell it: each noun has a colour of its own."""

    def __init__(self, picture: Composed) -> None:
        pixels = np.asarray(picture.image)
        self.boxes = [
            (thing.name, self._opaque(pixels, thing.name, thing.box)) for thing in picture.things
        ]  # (name, (left, top, right, bottom)) of each cut-out
        self.texts = [("text", picture.text.box)] if picture.text else []
        self.counts = Counter(name for name, _ in self.boxes)
        for name, boxes in self.by_name().items():
            colored = (pixels == color_of(name)).all(-1)
            for left, top, right, bottom in boxes:
                colored[top:bottom, left:right] = False
            assert not colored.any(), f"{name} elsewhere"

    @staticmethod
    def _opaque(pixels: np.ndarray, name: str, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        left, top, right, bottom = box
        rows, columns = (pixels[top:bottom, left:right] == color_of(name)).all(-1).nonzero()
        assert len(rows) > 0.5 * (right - left) * (bottom - top), f"{name} is hidden"
        found = left + columns.min(), top + rows.min(), left + columns.max() + 1, top + rows.max() + 1
        return tuple(map(int, found))

    def by_name(self) -> dict[str, list[tuple[int, int, int, int]]]:
        return {name: [box for other, box in self.boxes if other == name] for name in self.counts}

    def centre(self, name: str) -> tuple[float, float]:
        ((left, top, right, bottom),) = self.by_name()[name]
        return (left + right) / 2, (top + bottom) / 2

    def answer(self, question: str) -> str | None:
        """The right answer, by rules that know nothing of the composer's."""
        if found := re.fullmatch(r"Is there an? (.+)\?", question):
            return "yes" if self.counts[found[1]] else "no"
        if found := re.fullmatch(r"How many (.+) are there\?", question):
            (name,) = (noun for noun in NOUNS if plural(noun) == found[1])
            return str(self.counts[name])
        if found := re.fullmatch(r"Where is the (.+)\?", question):
            return cell(self.centre(found[1]))
        if found := re.fullmatch(r"Is the (.+) (on the left or on the right|at the top or at the bottom)\?", question):
            x, y = self.centre(found[1])
            return ("left", "right")[x > SIZE / 2] if "left" in found[2] else ("top", "bottom")[y > SIZE / 2]
        if found := re.fullmatch(r"Is the (.+) (left of|right of|above|below) the (.+)\?", question):
            (x, y), (other_x, other_y) = self.centre(found[1]), self.centre(found[3])
            right = {"left of": x < other_x, "right of": x > other_x, "above": y < other_y, "below": y > other_y}
            return "yes" if right[found[2]] else "no"
        if found := re.fullmatch(r"What is at the (.+)\?", question):
            (name,) = [name for name, box in [*self.boxes, *self.texts] if in_cell(box, found[1])]
            return name
        if question == "What is in the image?":
            ((name, _),) = self.boxes
            return name
        return None


def cell(centre: tuple[float, float]) -> str:
    column, row = (int(place * 3 / SIZE) for place in centre)
    return f"{ROWS[row]} {COLUMNS[column]}"


def in_cell(box: tuple[int, int, int, int], name: str) -> bool:
    """Whether something reaches more than 8 pixels into a cell."""
    row, column = (words.index(word) for words, word in zip((ROWS, COLUMNS), name.split(), strict=True))
    left, top = column * SIZE / 3, row * SIZE / 3
    shared = min(box[2], left + SIZE / 3) - max(box[0], left), min(box[3], top + SIZE / 3) - max(box[1], top)
    return min(shared) > 8


def test_answers_agree_with_what_is_to_be_seen(cutouts: Cutouts) -> None:
    asked: Counter[str] = Counter()
    answers: dict[str, Counter[str]] = {family: Counter() for family in FAMILIES}
    for seed in range(60):
        rng = Random(seed)
        picture = compose(cutouts.trained, rng, text_share=0.5)
        seen = Seen(picture)
        for family in FAMILIES:
            for question in ask(family, picture, cutouts.trained, rng):
                asked[family] += 1
                answers[family][question.answer] += 1
                if family != "reading":
                    assert seen.answer(question.text) == question.answer, (seed, question)
    assert min(asked[family] for family in FAMILIES) > 20
    assert answers["existence"]["yes"] == answers["existence"]["no"]
    assert {"0", "1", "2", "3"} <= answers["counting"].keys()
    assert len(answers["where"]) == 9 + 4


def test_texts_are_where_and_what_they_are_said_to_be(cutouts: Cutouts) -> None:
    for seed in range(20):
        rng = Random(seed)
        picture = compose(cutouts.trained, rng, text_share=1.0)
        if picture.text is None:
            continue
        left, top, right, bottom = picture.text.box
        assert 0 <= left < right <= SIZE and 0 <= top < bottom <= SIZE
        plate = np.asarray(picture.image)[top + 1 : bottom - 1, left + 1 : right - 1]
        assert (plate[:3] == 255).all() and (plate[-1] == 255).all()
        columns = (plate < 60).all(-1).any(0)  # which have a part of a character
        assert columns[:24].any() and columns[-24:].any()
        assert set(picture.text.name) <= set(CHARACTERS)
        written = dict(question[1:] for question in ask("reading", picture, cutouts.trained, rng))
        assert written["What does the text say?"].replace(" ", "") == picture.text.name.lower()
        assert ("Which word is written?" in written) == (picture.text.name.lower() in WORDS)


def test_pictures_and_questions_are_those_of_the_seed(cutouts: Cutouts) -> None:
    def made() -> tuple[bytes, list[str]]:
        rng = Random(7)
        picture = compose(cutouts.trained, rng, text_share=0.5)
        return picture.image.tobytes(), [
            q.text for q in shuffled(picture, cutouts.trained, rng, {"where": 1, "naming": 2})
        ]

    assert made() == made()
    assert len(set(made()[1])) == len(made()[1]) > 0


def test_held_out_cutouts_are_asked_about_in_turn(cutouts: Cutouts) -> None:
    made = one_question_each(cutouts.held_out, 24, seed=0)
    assert Counter(question.family for _, question in made) == dict.fromkeys(FAMILIES, 4)
    answers = Counter(question.answer for _, question in made if question.family == "existence")
    assert answers == {"yes": 2, "no": 2}
    trained = {kind.caption for kind in cutouts.trained}
    assert not any(re.search(rf"\b{noun}", question.text) for _, question in made for noun in trained)
    assert made[0][0].tobytes() == one_question_each(cutouts.held_out, 1, seed=0)[0][0].tobytes()
