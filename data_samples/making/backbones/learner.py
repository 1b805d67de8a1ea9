"""Bases with adapters in them, as the two stages of `data_samples.making.training` train them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from data_samples.making.backbones.adapters import Adapted, add_adapters
from data_samples.making.backbones.bases import Bases
from data_samples.making.backbones.joined import IMAGE, join
from data_samples.making.composed.cutouts import Cutouts, Kind
from data_samples.making.composed.pictures import compose
from data_samples.making.composed.questions import shuffled
from data_samples.making.generator.drawing import SIZE
from data_samples.making.training.alignment import Alignment
from data_samples.making.training.answers import Answers, Example
from data_samples.making.training.config import Settings
from data_samples.making.training.families import FAMILIES
from data_samples.making.training.learner import QUESTION, Learner, conversation_frame, encode
from data_samples.making.training.loop import Rhythm, run
from data_samples.making.training.samples import step_rng
from data_samples.making.training.vocabulary import Markers
from halfv_core.errors import ModelError

RHYTHM = Rhythm(log=10, checkpoint=25)


class AdapterAnswers(Answers):
    """The second stage, in which only projector and adapters are trained.

    Args:
        cutouts: a share of the pictures, `composed_share`, are composed of those; without them, all are drawn scenes.
    """

    def __init__(self, learner: Learner, adapted: Adapted, cutouts: Cutouts | None = None) -> None:
        super().__init__(learner)
        self.modules = adapted.modules
        self.cutouts = cutouts

    def examples(self, step: int, phase: dict[str, Any]) -> list[Example]:
        """A step's pictures; the scenes among them are the same with and without cut-outs."""
        examples = super().examples(step, phase)
        if self.cutouts is None:
            return examples
        rng = step_rng(self.learner.settings.values["seed"], "composed", step)
        share, kinds = self.settings["composed_share"], self.cutouts.trained
        return [self._composed(kinds, rng) if rng.random() < share else example for example in examples]

    def _composed(self, kinds: Sequence[Kind], rng: Random) -> Example:
        composed = self.settings["composed"]
        picture = compose(kinds, rng, composed["text_share"])
        return Example(picture.image, iter(list(shuffled(picture, kinds, rng, composed["weights"]))))

    def rate_scale(self, parameter: str) -> float:
        return float(self.settings["vision_rate"]) if parameter.startswith("projector.") else 1.0


def train(
    bases: Bases,
    values: dict[str, Any],
    work: Path,
    report: Callable[[str], None],
    rhythm: Rhythm = RHYTHM,
    cutouts: Cutouts | None = None,
) -> None:
    """Train both stages to their end, from the checkpoints in `work` if there are any.

    The first stage is about drawn scenes alone; the second, about composed pictures too, if there are `cutouts`.

    Raises:
        ModelError: the decoder's tokenizer joins question and prompt.
    """
    learner, adapted = build(bases, values)
    alignment = Alignment(learner)
    run(alignment, work / "align.pt", report, rhythm)
    alignment.rescale(word_size(learner))
    run(AdapterAnswers(learner, adapted, cutouts), work / "answer.pt", report, rhythm)


def build(bases: Bases, values: dict[str, Any]) -> tuple[Learner, Adapted]:
    """The bases joined, with adapters that do nothing yet; the same for the same seed."""
    model, processor = join(bases, values["seed"])
    adapted = add_adapters(model, values["rank"], values["alpha"])
    projector = model.model.multi_modal_projector
    projector.register_forward_pre_hook(_in_float)
    tokenizer = bases.tokenizer
    side = SIZE // bases.tower.config.patch_size
    before, suffix = conversation_frame(tokenizer)
    prefix = encode(tokenizer, before.replace(IMAGE, IMAGE * side**2))
    if prefix + encode(tokenizer, QUESTION + suffix) != encode(
        tokenizer, before.replace(IMAGE, IMAGE * side**2) + QUESTION + suffix
    ):
        raise ModelError(
            "the tokenizer joins the question with what stands before it",
            got=type(tokenizer).__name__,
            expected="one that splits after a line break",
            remedy="give another --llm",
        )
    family = replace(
        FAMILIES["llava"],
        markers=Markers(str(tokenizer.pad_token), "", str(tokenizer.eos_token), IMAGE, ()),
        vision_parts=lambda model: [projector, projector.linear_2],
    )
    settings = Settings("backbones", values | {"grid": side}, str(tokenizer.chat_template))
    positions = torch.arange(len(prefix))[None]
    learner = Learner(settings, family, model, tokenizer, processor.image_processor, prefix, positions, suffix)
    return learner, adapted


def word_size(learner: Learner) -> float:
    """Root mean square of the decoder's word embeddings."""
    return float(learner.model.get_input_embeddings().weight.detach().float().pow(2).mean().sqrt())


def _in_float(projector: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """The projector is trained in float32, whatever the precision of the tower."""
    return (inputs[0].float(),)
