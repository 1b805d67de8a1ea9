"""The recipe for pretrained parts, on tiny random ones: stopping changes nothing, and joined they answer as trained."""

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from data_samples.making.backbones.__main__ import main, note_recipe
from data_samples.making.backbones.adapters import WEIGHTS, join_adapters, write_adapters
from data_samples.making.backbones.bases import load_bases
from data_samples.making.backbones.join import main as write_joined
from data_samples.making.backbones.learner import build, train
from data_samples.making.backbones.onnx_tower import read_onnx_tower
from data_samples.making.generator.content import Difficulty
from data_samples.making.generator.drawing import SIZE, draw
from data_samples.making.generator.questions import FAMILIES, ask
from data_samples.making.training.families import image_features
from data_samples.making.training.loop import Rhythm, load_tensors
from data_samples.making.training.packing import pack
from data_samples.making.training.samples import step_rng, training_scenes
from halfv_core.errors import ModelError
from halfv_core.families import parts_of
from halfv_core.models import load_model
from tests.backbone_bases import bases, settings, tiny_tower, write_bases

pytest.importorskip("peft")

FREQUENT = Rhythm(log=1, checkpoint=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bases(tmp_path_factory.mktemp("bases"))


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a whole run of the command."""
    work = tmp_path_factory.mktemp("work")
    main(folder / "vision", folder / "llm", work, folder / "settings.json", "float32")
    return work


class Stopped(Exception):
    pass


@pytest.mark.parametrize("where", ["align 2/2", "answer 3/4"])
def test_a_stopped_run_gives_the_same_weights(folder: Path, trained: Path, tmp_path: Path, where: str) -> None:
    def stop(line: str) -> None:
        if line.startswith(where):
            raise Stopped

    with pytest.raises(Stopped):
        train(bases(folder), settings(folder), tmp_path, stop, FREQUENT)
    again: list[str] = []
    train(bases(folder), settings(folder), tmp_path, again.append, FREQUENT)
    assert again[0].startswith(where)
    found, whole = (load_tensors(path / "answer.pt") for path in (tmp_path, trained))
    for name, value in whole["modules"].items():
        assert torch.equal(found["modules"][name], value), name


def test_only_projector_and_adapters_are_trained(folder: Path, trained: Path) -> None:
    fresh, adapted = build(bases(folder), settings(folder))
    before = {name: value.clone() for name, value in adapted.modules.state_dict().items()}
    after = load_tensors(trained / "answer.pt")["modules"]
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in after)
    own = {id(parameter) for parameter in adapted.modules.parameters()}
    assert all(parameter.requires_grad == (id(parameter) in own) for parameter in fresh.model.parameters())
    assert len(adapted.modules["lora"]) == 2 * 2 * 7  # two matrices for each linear layer of two decoder layers


def test_joined_they_give_each_packed_question_what_it_gets_alone(folder: Path, trained: Path) -> None:
    joined = join_adapters(bases(folder), trained / "adapters")
    learner, adapted = build(bases(folder), settings(folder))
    adapted.modules.load_state_dict(
        {n: v.bfloat16().float() for n, v in load_tensors(trained / "answer.pt")["modules"].items()}
    )
    rng = step_rng(0, "test", 0)
    scene = training_scenes(rng, Difficulty(text_share=1.0), 1)[0]
    questions = [question for question in (ask(family, scene, rng) for family in FAMILIES) if question]
    image = draw(scene, rng).image
    turns = [learner.turn(question) for question in questions]
    room = sum(len(turn.prompt) + len(turn.answer) for turn in turns)
    packed = pack(learner.prefix, [turns], room, learner.tokenizer.pad_token_id)
    with torch.no_grad():
        hidden = learner.hidden(image_features(learner.model, learner.process([image])), packed)
        logits = learner.model.lm_head(hidden)[0]  # (L, V)
        for number, (question, turn) in enumerate(zip(questions, turns, strict=True)):
            content = [{"type": "image"}, {"type": "text", "text": question.text}]
            said = [{"role": "user", "content": content}, {"role": "assistant", "content": question.answer}]
            text = joined.processor.apply_chat_template(said)
            inputs = joined.processor(images=[image], text=text.removesuffix("<end>\n"), return_tensors="pt")
            expected = joined.model(**inputs).logits[0, -len(turn.answer) :]
            torch.testing.assert_close(logits[packed.owner[0] == number], expected, rtol=1e-4, atol=1e-4)


def test_the_joined_folder_loads_and_answers(folder: Path, trained: Path, tmp_path: Path) -> None:
    write_joined(folder / "vision", folder / "llm", trained / "adapters", tmp_path, "float32")
    model, processor, _ = load_model(str(tmp_path))
    assert len(parts_of(model).layers) == 2
    inputs = processor.prompt([Image.new("RGB", (SIZE, SIZE), "white")], "Where is the star?")
    assert int((inputs["input_ids"] == model.config.image_token_id).sum()) == (SIZE // 14) ** 2
    joined = join_adapters(bases(folder), trained / "adapters").model
    answers = [one.generate(**inputs, max_new_tokens=4).tolist() for one in (model, joined)]
    assert answers[0] == answers[1]
    assert len(answers[0][0]) > inputs["input_ids"].shape[1]


def test_other_bases_and_other_settings_are_refused(
    folder: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = bases(folder)._replace(sha256={"vision": "0", "llm": "0"})
    with pytest.raises(ModelError, match="trained on another --vision"):
        join_adapters(other, trained / "adapters")
    (tmp_path / "settings.json").write_text(json.dumps(settings(folder, composed=True) | {"seed": 1}))
    with pytest.raises(BaseException) as left:  # noqa: PT011 - typer's Exit
        main(folder / "vision", folder / "llm", trained, tmp_path / "settings.json", "float32")
    assert getattr(left.value, "exit_code", None) == 2
    assert "has other settings" in capsys.readouterr().err


def test_a_training_that_was_begun_before_there_were_cutouts_goes_on(folder: Path, tmp_path: Path) -> None:
    given = (bases(folder), None, settings(folder), "float32")
    note_recipe(tmp_path, *given)
    recipe = json.loads((tmp_path / "recipe.json").read_text())
    assert not {"composed", "composed_share"} & recipe["settings"]["answer"].keys()
    del recipe["cutouts"]
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    note_recipe(tmp_path, *given)


def test_bases_that_are_none_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--vision does not exist"):
        load_bases(tmp_path / "nothing", folder / "llm")
    with pytest.raises(ModelError, match="expected a DINOv2"):
        load_bases(folder / "llm", folder / "llm")
    with pytest.raises(ModelError, match="is no causal language model"):
        load_bases(folder / "vision", folder / "vision")
    with pytest.raises(ModelError, match="no checkpoint with adapters"):
        write_adapters(tmp_path, tmp_path / "adapters")
    with pytest.raises(ModelError, match="no adapters in the folder"):
        join_adapters(bases(folder), tmp_path)


@pytest.mark.parametrize(("package", "begins"), [("onnx", b"\x08\x07\x12\xff"), ("gguf", b"GGUF\x03\0\0\0\x09")])
def test_damaged_files_are_refused(folder: Path, tmp_path: Path, package: str, begins: bytes) -> None:
    pytest.importorskip(package)
    path = tmp_path / f"damaged.{package}"
    path.write_bytes(begins)
    parts = {"onnx": (path, folder / "llm"), "gguf": (folder / "vision", path)}
    with pytest.raises(ModelError, match=f"damaged.{package} is no"):
        load_bases(*parts[package])


def test_adapters_are_small(trained: Path) -> None:
    """In bfloat16: two bytes for each number."""
    numbers = sum(value.numel() for value in load_tensors(trained / "answer.pt")["modules"].values())
    assert (trained / "adapters" / WEIGHTS).stat().st_size < 2 * numbers + 16_384


OLD_NAMES = {
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
}


def test_a_tower_out_of_an_onnx_file(tmp_path: Path) -> None:
    """A graph with the names that an export has: matrices are transposed and known by their nodes alone."""
    onnx = pytest.importorskip("onnx")
    tower = tiny_tower()
    constants, nodes = {}, []
    for name, value in tower.state_dict().items():
        for new, old in OLD_NAMES.items():
            name = name.replace(new, old)
        if name == "embeddings.position_embeddings":
            constants |= {"onnx::Concat_1": value[:, :1], "onnx::Reshape_2": value[:, 1:]}
        elif re.search(r"encoder\..*(query|key|value|dense|fc1|fc2)\.weight", name):
            key = f"onnx::MatMul_{len(constants)}"
            constants[key] = value.T
            path = f"/backbone/{name.removesuffix('.weight')}/MatMul".replace(".", "/").replace("layer/", "layer.")
            nodes.append(onnx.helper.make_node("MatMul", ["x", key], [key + "_output"], name=path))
        else:
            constants[f"backbone.{name}"] = value
    stored = [onnx.numpy_helper.from_array(value.contiguous().numpy(), name) for name, value in constants.items()]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "tower", [], [], stored)), tmp_path / "tower.onnx")
    read = read_onnx_tower(tmp_path / "tower.onnx")
    for name, value in tower.state_dict().items():
        assert torch.equal(read.state_dict()[name], value), name
