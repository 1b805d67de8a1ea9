"""Composed pictures with one question each, such as a model is tried on."""

from collections.abc import Sequence
from random import Random

from PIL import Image

from data_samples.making.composed.cutouts import Kind
from data_samples.making.composed.pictures import compose
from data_samples.making.composed.questions import FAMILIES, ask
from data_samples.making.generator.questions import Question


def one_question_each(kinds: Sequence[Kind], count: int, seed: int) -> list[tuple[Image.Image, Question]]:
    """Families take turns, and in each of them "yes" and "no"."""
    rng = Random(f"{seed}/composed/one question each")
    families = list(FAMILIES)
    turns = (divmod(k, len(families)) for k in range(count))
    return [_one(kinds, families[place], ("no", "yes")[turn % 2], rng) for turn, place in turns]


def _one(kinds: Sequence[Kind], family: str, refused: str, rng: Random) -> tuple[Image.Image, Question]:
    """Pictures are composed until one allows a question of the family whose answer is not `refused`."""
    while True:
        picture = compose(kinds, rng, text_share=float(family == "reading"))
        questions = [question for question in ask(family, picture, kinds, rng) if question.answer != refused]
        if questions:
            return picture.image, rng.choice(questions)
