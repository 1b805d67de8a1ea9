"""Training code on a tiny model: packing changes nothing, resuming changes nothing, words survive the tokenizer."""

from itertools import islice
from pathlib import Path

import pytest
import torch

from data_samples.generator.content import COLORS, Difficulty, scenes
from data_samples.generator.drawing import draw
from data_samples.generator.questions import FAMILIES, ask
from data_samples.training import vocabulary
from data_samples.training.alignment import Alignment, token_words
from data_samples.training.answers import Answers
from data_samples.training.config import Settings, read_settings
from data_samples.training.families import image_features
from data_samples.training.learner import Learner, build_learner
from data_samples.training.loop import Rhythm, Stage, load_tensors, run
from data_samples.training.packing import IGNORED, pack
from data_samples.training.samples import step_rng
from halfv_core.processors import ComposedProcessor, PromptProcessor


def small_settings() -> Settings:
    """The shipped config with two decoder layers and a few steps."""
    settings = read_settings("tiny-qwen2.5-vl")
    settings.values["text"]["num_hidden_layers"] = 2
    settings.values["align"] |= {"steps": 4, "batch": 2}
    settings.values["answer"] |= {"steps": 6, "batch": 1, "vision_frozen_until": 0.5}
    return settings


@pytest.fixture
def learner() -> Learner:
    return build_learner(small_settings())


def test_packed_questions_get_what_each_would_get_alone(learner: Learner) -> None:
    rng = step_rng(0, "test", 0)
    rich = (s for s in scenes(rng, Difficulty(objects=(4, 5), text_share=1.0), "train") if ask("attribute", s, rng))
    scene = next(rich)
    questions = [q for q in (ask(family, scene, rng) for family in FAMILIES) if q]
    assert len(questions) >= 6
    image = draw(scene, rng).image
    parts = ComposedProcessor(learner.image_processor, learner.tokenizer, learner.settings.chat_template)
    packed = pack(learner.prefix, [[learner.turn(q) for q in questions]], 160, learner.tokenizer.pad_token_id)
    with torch.no_grad():
        hidden = learner.hidden(image_features(learner.model, learner.process([image])), packed)
        logits = learner.model.lm_head(hidden)  # (1, L, V)
        for number, question in enumerate(questions):
            answer = learner.turn(question).answer
            alone = PromptProcessor(parts).prompt([image], question.text)
            given = torch.tensor([answer[:-1]])
            alone["input_ids"] = torch.cat([alone["input_ids"], given], 1)
            for name, value in (("attention_mask", 1), ("mm_token_type_ids", 0)):
                alone[name] = torch.cat([alone[name], torch.full_like(given, value)], 1)
            expected = learner.model(**alone).logits[0, -len(answer) :]
            torch.testing.assert_close(logits[0][packed.owner[0] == number], expected, rtol=1e-4, atol=1e-4)


def test_labels_are_the_answers(learner: Learner) -> None:
    turn = learner.turn(next(q for q in (ask("where", s, step_rng(0, "t", 0)) for s in train_scenes(9)) if q))
    packed = pack(learner.prefix, [[turn, turn]], 60, 0)
    assert packed.labels[packed.labels != IGNORED].tolist() == 2 * turn.answer
    assert packed.ids[0, : len(learner.prefix)].tolist() == learner.prefix


def train_scenes(count: int) -> list:
    return list(islice(scenes(step_rng(0, "test", 1), Difficulty(), "train"), count))


@pytest.mark.parametrize("stage_of", [Alignment, Answers])
def test_resumed_training_equals_uninterrupted(stage_of: type, tmp_path: Path) -> None:
    """Killed between checkpoints, started again from nothing but the file: same weights, bit for bit."""

    class Killed(Exception):
        pass

    def kill_at(stage: Stage, last: int) -> Stage:
        loss = stage.loss

        def failing(step: int) -> object:
            if step == last:
                raise Killed
            return loss(step)

        stage.loss = failing  # type: ignore[method-assign, assignment]
        return stage

    rhythm, lines = Rhythm(log=2, checkpoint=2), []
    whole = stage_of(build_learner(small_settings()))
    run(whole, tmp_path / "whole.pt", lines.append, rhythm)
    with pytest.raises(Killed):
        run(kill_at(stage_of(build_learner(small_settings())), 3), tmp_path / "cut.pt", lines.append, rhythm)
    assert load_tensors(tmp_path / "cut.pt")["step"] == 2
    resumed = stage_of(build_learner(small_settings()))
    run(resumed, tmp_path / "cut.pt", lines.append, rhythm)
    for (name, expected), value in zip(
        whole.modules.state_dict().items(), resumed.modules.state_dict().values(), strict=True
    ):
        assert torch.equal(value, expected), name
    assert any(line.startswith(f"{whole.name} 2/") for line in lines)


def test_alignment_labels_name_what_is_drawn_at_each_token() -> None:
    scene = next(s for s in train_scenes(50) if s.text)
    words = token_words(draw(scene, step_rng(0, "t", 2)).placements, grid=10)
    for item in scene.items:
        token = round((item.cell.row + 0.5) * 10 / 3 - 0.5) * 10 + round((item.cell.column + 0.5) * 10 / 3 - 0.5)
        assert words["color"][token] == 1 + COLORS.index(item.color)
        assert (words["row"][token], words["column"][token]) == (item.cell.row, item.cell.column)
    assert (words["character"] > 0).sum() >= 2


def test_the_tokenizer_knows_every_word_and_gives_text_back(learner: Learner) -> None:
    rng, unknown = step_rng(0, "t", 3), learner.tokenizer.unk_token_id
    assert len(learner.tokenizer) == vocabulary.SIZE
    for scene in train_scenes(60):
        for question in filter(None, (ask(family, scene, rng) for family in FAMILIES)):
            assert unknown not in learner.tokenizer.encode(question.text)
            ids = learner.tokenizer.encode(question.answer)
            assert unknown not in ids
            assert learner.tokenizer.decode(ids) == question.answer.replace(",", " ,")
    assert learner.tokenizer.encode("Is THERE a Red circle?") == learner.tokenizer.encode("is there a red circle ?")


def test_the_chat_template_writes_turns_as_qwen_does(learner: Learner) -> None:
    content = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "Is there a star?"}]
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": "yes"}]
    assert learner.tokenizer.apply_chat_template(messages, tokenize=False) == (
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|><|vision_start|><|image_pad|><|vision_end|>"
        "Is there a star?<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n"
    )
    assert learner.suffix == "<|im_end|>\n<|im_start|>assistant\n"
