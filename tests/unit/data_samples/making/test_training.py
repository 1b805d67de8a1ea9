"""Training code on a tiny model: packing changes nothing, resuming changes nothing, words survive the tokenizer."""

import math
from itertools import islice
from pathlib import Path

import pytest
import torch
from PIL import Image

from data_samples.making.generator.content import COLORS, Difficulty, scenes
from data_samples.making.generator.drawing import SIZE, draw
from data_samples.making.generator.questions import FAMILIES, ask
from data_samples.making.training import vocabulary
from data_samples.making.training.alignment import Alignment, token_words
from data_samples.making.training.answers import Answers
from data_samples.making.training.config import CONFIGS, Settings, read_settings
from data_samples.making.training.export import export
from data_samples.making.training.families import image_features
from data_samples.making.training.learner import Learner, build_learner
from data_samples.making.training.loop import Rhythm, Stage, load_tensors, run
from data_samples.making.training.packing import IGNORED, pack
from data_samples.making.training.samples import step_rng
from data_samples.making.training.start import start_from
from halfv_core.processors import ComposedProcessor, PromptProcessor

MODELS = sorted(path.stem for path in CONFIGS.glob("*.json"))


def small_settings(name: str) -> Settings:
    """A shipped config with two decoder layers and a few steps."""
    settings = read_settings(name)
    settings.values["text"]["num_hidden_layers"] = 2
    settings.values["align"] |= {"steps": 4, "batch": 2}
    settings.values["answer"] |= {"steps": 6, "batch": 1, "vision_frozen_until": 0.5}
    return settings


@pytest.fixture(params=MODELS)
def learner(request: pytest.FixtureRequest) -> Learner:
    return build_learner(small_settings(request.param))


def prompt_processor(learner: Learner) -> PromptProcessor:
    parts = learner.image_processor, learner.tokenizer
    if learner.family.processor is None:
        return PromptProcessor(ComposedProcessor(*parts, learner.settings.chat_template))
    return PromptProcessor(learner.family.processor(learner.settings.values, *parts))


def test_packed_questions_get_what_each_would_get_alone(learner: Learner) -> None:
    rng = step_rng(0, "test", 0)
    rich = (s for s in scenes(rng, Difficulty(objects=(4, 5), text_share=1.0), "train") if ask("attribute", s, rng))
    scene = next(rich)
    questions = [q for q in (ask(family, scene, rng) for family in FAMILIES) if q]
    assert len(questions) >= 6
    image = draw(scene, rng).image
    packed = pack(learner.prefix, [[learner.turn(q) for q in questions]], 160, learner.tokenizer.pad_token_id)
    with torch.no_grad():
        hidden = learner.hidden(image_features(learner.model, learner.process([image])), packed)
        logits = learner.model.lm_head(hidden)  # (1, L, V)
        for number, question in enumerate(questions):
            answer = learner.turn(question).answer
            alone = prompt_processor(learner).prompt([image], question.text)
            given = torch.tensor([answer[:-1]])
            alone["input_ids"] = torch.cat([alone["input_ids"], given], 1)
            for name, value in (("attention_mask", 1), ("mm_token_type_ids", 0)):
                if name not in alone:
                    continue
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
@pytest.mark.parametrize("name", MODELS)
def test_resumed_training_equals_uninterrupted(name: str, stage_of: type, tmp_path: Path) -> None:
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
    whole = stage_of(build_learner(small_settings(name)))
    run(whole, tmp_path / "whole.pt", lines.append, rhythm)
    with pytest.raises(Killed):
        run(kill_at(stage_of(build_learner(small_settings(name))), 3), tmp_path / "cut.pt", lines.append, rhythm)
    assert load_tensors(tmp_path / "cut.pt")["step"] == 2
    resumed = stage_of(build_learner(small_settings(name)))
    run(resumed, tmp_path / "cut.pt", lines.append, rhythm)
    for (name, expected), value in zip(
        whole.modules.state_dict().items(), resumed.modules.state_dict().values(), strict=True
    ):
        assert torch.equal(value, expected), name
    assert any(line.startswith(f"{whole.name} 2/") for line in lines)


def test_training_starts_from_the_weights_of_a_saved_model(learner: Learner, tmp_path: Path) -> None:
    export(learner, tmp_path)
    values = learner.settings.values | {"seed": 1}
    other = build_learner(learner.settings._replace(values=values))
    start_from(other, tmp_path)
    for (name, expected), value in zip(
        learner.model.state_dict().items(), other.model.state_dict().values(), strict=True
    ):
        assert torch.equal(value, expected), name


def test_training_starts_from_another_family(tmp_path: Path) -> None:
    """Words keep their embeddings under other ids, and shared keys are the means of those that they replace."""
    source, learner = (build_learner(small_settings(name)) for name in ("tiny-llava", "tiny-llava-next"))
    export(source, tmp_path)
    start_from(learner, tmp_path)
    ids = [model.tokenizer.convert_tokens_to_ids("star") for model in (source, learner)]
    tables = [model.model.get_input_embeddings().weight for model in (source, learner)]
    assert ids[0] != ids[1]
    assert torch.equal(tables[0][ids[0]], tables[1][ids[1]])
    old, new = (model.model.model.language_model.layers[1].self_attn for model in (source, learner))
    assert torch.equal(new.q_proj.weight, old.q_proj.weight)
    torch.testing.assert_close(new.v_proj.weight[32:], (old.v_proj.weight[64:96] + old.v_proj.weight[96:]) / 2)


def test_alignment_labels_name_what_is_drawn_at_each_token() -> None:
    scene = next(s for s in train_scenes(50) if s.text)
    words = token_words(draw(scene, step_rng(0, "t", 2)).placements, grid=14)
    for item in scene.items:
        row, column = (round((place + 0.5) * 14 / 3 - 0.5) for place in (item.cell.row, item.cell.column))
        token = row * 14 + column
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


CHATS = {
    "tiny-qwen2.5-vl": "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|><|vision_start|><|image_pad|>"
    "<|vision_end|>Is there a star?<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n",
    "tiny-llava": "<s> USER: <image>\n<image>\nIs there a star? ASSISTANT: yes</s>",
    "tiny-llava-next": "<s>[INST] <image>\n<image>\nIs there a star? [/INST]yes</s>",
}


@pytest.mark.parametrize("name", MODELS)
def test_the_chat_template_writes_turns_as_the_family_does(name: str) -> None:
    tokenizer = build_learner(small_settings(name)).tokenizer
    content = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "Is there a star?"}]
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": "yes"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == CHATS[name]


def test_the_prompt_in_training_is_the_prompt_in_use(learner: Learner) -> None:
    question = next(q for q in (ask("where", s, step_rng(0, "t", 0)) for s in train_scenes(9)) if q)
    image = draw(train_scenes(1)[0], step_rng(0, "t", 1)).image
    ids = prompt_processor(learner).prompt([image], question.text)["input_ids"][0]
    assert ids.tolist() == learner.prefix + learner.turn(question).prompt


def test_the_alignment_compares_with_the_words_own_embeddings(learner: Learner) -> None:
    ids = learner.tokenizer.convert_tokens_to_ids(list(COLORS))
    assert torch.equal(Alignment(learner).embeddings["color"], learner.model.get_input_embeddings().weight[ids])


def test_grid_tokens_are_those_that_see_their_cell(learner: Learner) -> None:
    """A change in one corner of the picture reaches the corner's token more than any other of its grid."""
    plain = Image.new("RGB", (SIZE, SIZE), "white")
    far = SIZE - 16
    for tokens in learner.family.grids(learner.settings.values):
        side = math.isqrt(len(tokens))
        assert side**2 == len(tokens)
        corners = {(0, 0): 0, (far, 0): side - 1, (0, far): side * (side - 1), (far, far): side**2 - 1}
        for (x, y), cell in corners.items():
            marked = plain.copy()
            marked.paste((200, 0, 0), (x, y, x + 16, y + 16))
            with torch.no_grad():
                before, after = (image_features(learner.model, learner.process([image])) for image in (plain, marked))
            change = (after - before)[0, tokens].norm(dim=-1)  # (side^2,)
            assert int(change.argmax()) == cell
