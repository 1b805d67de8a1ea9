"""The recipe for pretrained parts on composed pictures, which share the steps with drawn scenes that stay the same."""

import json
from pathlib import Path

import pytest
import torch

from data_samples.making.backbones.__main__ import main
from data_samples.making.backbones.held_out import held_out_samples
from data_samples.making.backbones.held_out import main as try_held_out
from data_samples.making.backbones.join import main as write_joined
from data_samples.making.backbones.learner import AdapterAnswers, build
from data_samples.making.composed.cutouts import read_cutouts
from data_samples.making.generator.drawing import SIZE, draw
from data_samples.making.training.answers import MISFITS
from data_samples.making.training.config import difficulty
from data_samples.making.training.families import image_features
from data_samples.making.training.packing import IGNORED, pack
from data_samples.making.training.samples import distinct_questions, step_rng, training_scenes
from tests.backbone_bases import bases, settings, write_bases
from tests.cutouts import NOUNS, draw_cutout, write_cutouts

pytest.importorskip("peft")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bases(tmp_path_factory.mktemp("bases"))


@torch.no_grad()
def loss_on_scenes_alone(folder: Path, step: int) -> float:
    """Of a step of the second stage with one picture, written out from the order of the random draws."""
    learner, _ = build(bases(folder), settings(folder))
    values = settings(folder)["answer"]
    phase = next(phase for phase in values["phases"] if step / values["steps"] < phase["until"])
    rng = step_rng(0, "answer", step)
    scene = training_scenes(rng, difficulty(phase["scenes"]), 1)[0]
    images = learner.process([draw(scene, rng).image])
    turns, room, misfits = [], values["room"], 0
    for question in distinct_questions(rng, scene, phase["weights"]):
        turn = learner.turn(question)
        length = len(turn.prompt) + len(turn.answer) - 1
        if length <= room:
            turns.append(turn)
            room -= length
        else:
            misfits += 1
        if misfits == MISFITS:
            break
    packed = pack(learner.prefix, [turns], values["room"], learner.tokenizer.pad_token_id)
    asked = packed.labels != IGNORED
    hidden = learner.hidden(image_features(learner.model, images), packed)
    return float(torch.nn.functional.cross_entropy(learner.model.lm_head(hidden[asked]).float(), packed.labels[asked]))


def test_without_cutouts_a_step_is_one_on_drawn_scenes(folder: Path, tmp_path: Path) -> None:
    """Bit for bit, and with cut-outs that have no share as well."""
    stage = AdapterAnswers(*build(bases(folder), settings(folder)))
    expected = [loss_on_scenes_alone(folder, step) for step in (0, 3)]
    assert [stage.loss(step)[0].item() for step in (0, 3)] == expected
    values = settings(folder, composed=True)
    values["answer"]["composed_share"] = 0.0
    stage = AdapterAnswers(*build(bases(folder), values), read_cutouts([write_cutouts(tmp_path)]))
    assert [stage.loss(step)[0].item() for step in (0, 3)] == expected


def test_steps_mix_drawn_scenes_and_composed_pictures(folder: Path, tmp_path: Path) -> None:
    cutouts = read_cutouts([write_cutouts(tmp_path)])
    stages = [
        AdapterAnswers(*build(bases(folder), settings(folder, True)), given) for given in (cutouts, cutouts, None)
    ]
    phase = settings(folder)["answer"]["phases"][0]
    composed = 0
    for step in range(24):
        mixed, again, drawn = (stage.examples(step, phase)[0] for stage in stages)
        assert mixed.image.tobytes() == again.image.tobytes()
        if mixed.image.tobytes() != drawn.image.tobytes():
            composed += 1
            held_out = {kind.caption for kind in cutouts.held_out}
            texts = [question.text for question in mixed.questions]
            assert any(noun in text for noun in NOUNS for text in texts)
            assert not any(f" {noun}" in text for noun in held_out for text in texts)
    assert 6 < composed < 18


def test_a_training_on_cutouts_needs_the_same_ones_again(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what it gives joins, and answers questions about those that were held out."""
    pictures, work = write_cutouts(tmp_path / "pictures"), tmp_path / "work"
    values = settings(folder, composed=True)
    values["answer"] |= {"steps": 2, "composed_share": 1.0}
    (tmp_path / "settings.json").write_text(json.dumps(values))
    given = (folder / "vision", folder / "llm", work, tmp_path / "settings.json", "float32", 1)
    main(*given, [pictures])
    cutouts = read_cutouts([pictures])
    recipe = json.loads((work / "adapters" / "recipe.json").read_text())
    assert recipe["cutouts"] == cutouts.sha256
    assert recipe["settings"]["answer"]["composed_share"] == 1.0
    assert (work / "log.txt").read_text().startswith("50 cut-outs with 50 captions")
    main(*given, [pictures])
    write_joined(folder / "vision", folder / "llm", work / "adapters", tmp_path / "model", "float32")
    capsys.readouterr()
    try_held_out(str(tmp_path / "model"), [pictures], samples=6)
    printed = capsys.readouterr().out
    assert all(f"| {family} |" in printed for family in ("existence", "counting", "where", "naming", "reading"))
    draw_cutout(NOUNS[0]).rotate(90).save(pictures / "named" / "purple_thing.png")
    for other in ([pictures], None):
        with pytest.raises(BaseException) as left:  # noqa: PT011 - typer's Exit
            main(*given, other)
        assert getattr(left.value, "exit_code", None) == 2
        assert "has other cutouts" in capsys.readouterr().err


def test_blank_pictures_change_nothing_but_the_pictures(tmp_path: Path) -> None:
    cutouts = read_cutouts([write_cutouts(tmp_path / "pictures")])
    asked = []
    for blank in (False, True):
        (tmp_path / str(blank)).mkdir()
        asked.append(held_out_samples(cutouts, 12, 0, tmp_path / str(blank), blank))
    for seen, unseen in zip(*asked, strict=True):
        assert (seen.question, seen.answer, seen.family) == (unseen.question, unseen.answer, unseen.family)
        assert len(seen.open_images()[0].getcolors(SIZE * SIZE)) > 1
        assert unseen.open_images()[0].getcolors() == [(SIZE * SIZE, (128, 128, 128))]
