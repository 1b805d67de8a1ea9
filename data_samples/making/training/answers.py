"""Stage 2: next-token loss on the answers, many questions on one image, easier scenes first, vision frozen at first."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from data_samples.making.generator.drawing import draw
from data_samples.making.generator.questions import Question
from data_samples.making.training.config import difficulty
from data_samples.making.training.families import image_features
from data_samples.making.training.learner import Learner
from data_samples.making.training.packing import IGNORED, Tally, Turn, answered, pack
from data_samples.making.training.samples import distinct_questions, step_rng, training_scenes

MISFITS = 2  # questions too long for what is left of the room before a sequence counts as full


class Example(NamedTuple):
    """A picture, and questions about it; more of them than there is room for, where that many can be asked."""

    image: Image.Image
    questions: Iterator[Question]


class Answers:
    """The stage: the whole model is trained; the vision parts join late and with a lower rate."""

    name = "answer"

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.settings = learner.settings.values["answer"]
        self.modules = nn.ModuleDict({"model": learner.model})
        vision = {id(p) for part in learner.family.vision_parts(learner.model) for p in part.parameters()}
        self._vision_names = {name for name, p in self.modules.named_parameters() if id(p) in vision}

    def rate_scale(self, parameter: str) -> float:
        return self.settings["vision_rate"] if parameter in self._vision_names else 1.0

    def loss(self, step: int) -> tuple[Tensor, Tally]:
        learner, share = self.learner, step / self.settings["steps"]
        phase = next(phase for phase in self.settings["phases"] if share < phase["until"])
        examples = self.examples(step, phase)
        images = learner.process([example.image for example in examples])
        turns = [self._turns(example.questions) for example in examples]
        packed = pack(learner.prefix, turns, self.settings["room"], learner.tokenizer.pad_token_id)
        with torch.set_grad_enabled(share >= self.settings["vision_frozen_until"]):
            features = image_features(learner.model, images)  # (B, tokens, D)
        hidden = learner.hidden(features, packed)  # (B, L, D)
        asked = packed.labels != IGNORED
        logits, labels = learner.model.lm_head(hidden[asked]).float(), packed.labels[asked]  # (answers, V), (answers,)
        return F.cross_entropy(logits, labels), answered(packed, logits.argmax(-1) == labels)

    def examples(self, step: int, phase: dict[str, Any]) -> list[Example]:
        """A step's drawn scenes."""
        rng = step_rng(self.learner.settings.values["seed"], self.name, step)
        scenes = training_scenes(rng, difficulty(phase["scenes"]), self.settings["batch"])
        images = [draw(scene, rng).image for scene in scenes]
        questions = [distinct_questions(rng, scene, phase["weights"]) for scene in scenes]
        return list(map(Example, images, questions))

    def _turns(self, questions: Iterator[Question]) -> list[Turn]:
        """Questions until the sequence is full."""
        turns: list[Turn] = []
        room, misfits = self.settings["room"], 0
        for question in questions:
            turn = self.learner.turn(question)
            length = len(turn.prompt) + len(turn.answer) - 1
            if length <= room:
                turns.append(turn)
                room -= length
            else:
                misfits += 1
            if misfits == MISFITS:
                break
        return turns
