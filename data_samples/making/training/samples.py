"""Training batches as a pure function of seed, stage and step, drawn from the train bucket only.

Nothing is carried from step to step, so a resumed run sees exactly the batches of an uninterrupted one.
"""

from collections.abc import Iterator
from itertools import islice
from random import Random

from data_samples.making.generator.content import Difficulty, Scene, scenes
from data_samples.making.generator.questions import Question, ask


def step_rng(seed: int, stage: str, step: int) -> Random:
    return Random(f"{seed}/{stage}/{step}")


def training_scenes(rng: Random, difficulty: Difficulty, count: int) -> list[Scene]:
    return list(islice(scenes(rng, difficulty, "train"), count))


def distinct_questions(rng: Random, scene: Scene, weights: dict[str, float]) -> Iterator[Question]:
    """Endless questions about a scene, families drawn by weight, none of them twice."""
    asked: set[str] = set()
    while True:
        family = rng.choices(list(weights), list(weights.values()))[0]
        question = ask(family, scene, rng)
        if question and question.text not in asked:
            asked.add(question.text)
            yield question
