"""Every family's processor on images of all kinds: what it promises, what the model takes, and who else makes it so.

Users mostly have torchvision, which resizes images for the checkpoints' own processors; without it Pillow does, and
Qwen's processors are composed of their parts. What needs torchvision runs under `make test-torchvision`.
"""

from functools import cache, partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from PIL import Image
from tokenizers.processors import TemplateProcessing
from transformers import AutoImageProcessor, PreTrainedModel

from halfv_core import HalfVError, Keep, Plan, apply
from halfv_core.families import FAMILIES, parts_of
from halfv_core.interleaving import IMAGE_PLACE
from halfv_core.processors import ComposedProcessor, PromptProcessor, load_processor
from probe.data.images import EmbeddedImage
from probe.data.inputs import inputs_of
from probe.data.samples import Sample, Turn
from tests.checkpoints import CHECKPOINTS, READABLE, TORCHVISION, save_processor, template
from tests.pictures import noise
from tests.tiny import tiny_model

FAMILY = pytest.mark.parametrize("family", READABLE)
QWEN = pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
with_torchvision = pytest.mark.skipif(not TORCHVISION, reason="needs torchvision; run make test-torchvision")

_DRAWN = noise(320, 240, 40).resize((640, 480), Image.Resampling.BICUBIC)
_FADING = _DRAWN.resize((80, 60)).convert("RGBA")
_FADING.putalpha(Image.linear_gradient("L").resize((80, 60)))
PICTURES = {
    "none": [],
    "odd": [_DRAWN.resize((97, 61))],
    "small": [_DRAWN.resize((20, 17))],  # the code of Mistral 3 fails on an image of one token
    "large": [_DRAWN.resize((700, 500))],
    "portrait": [_DRAWN.resize((45, 170))],
    "several": [_DRAWN.resize(size) for size in ((120, 40), (33, 90), (64, 60))],
    "grey": [_DRAWN.resize((80, 60)).convert("L")],
    "transparent": [_FADING],
    "palette": [_DRAWN.resize((80, 60)).convert("P", palette=Image.Palette.ADAPTIVE)],
}
PICTURE = pytest.mark.parametrize("pictures", PICTURES.values(), ids=PICTURES.keys())
QUESTION = "w8 w9"

LARGEST, MEAN = 0.2, 0.01
"""How far pixels that torchvision and Pillow resized may be apart, in standard deviations of all pixels."""


def saved_processor(family: str) -> PromptProcessor:
    """The processor of a checkpoint folder, read anew."""
    with TemporaryDirectory() as folder:
        return load_processor(str(save_processor(family, Path(folder))), offline=True)


processor_of = cache(saved_processor)


@cache
def model_of(family: str) -> PreTrainedModel:
    return tiny_model(family)


def check_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert torch.equal(value, expected[name].to(value.dtype)), name


def test_every_family_has_a_checkpoint() -> None:
    assert set(CHECKPOINTS) == set(FAMILIES)


@FAMILY
@PICTURE
def test_the_model_takes_what_the_processor_promises(family: str, pictures: list[Image.Image]) -> None:
    """A model refuses another number of features than of placeholders."""
    model, inputs = model_of(family), processor_of(family).prompt(pictures, QUESTION)
    with torch.no_grad(), apply(model, Plan((Keep(layer=2, keep_ratio=0.5),))) as run:
        ids = model.generate(**inputs, max_new_tokens=2, do_sample=False)
    assert ids.shape[1] == inputs["input_ids"].shape[1] + 2
    kept = inputs["input_ids"][0, run.kept[2][0]]
    assert bool(len(kept)) == bool(pictures) and torch.isin(kept, torch.tensor(parts_of(model).visual_ids)).all()


@FAMILY
@PICTURE
def test_a_prompt_is_what_the_processor_itself_makes_of_a_chat(family: str, pictures: list[Image.Image]) -> None:
    """`apply_chat_template` with images and `tokenize=True` is what model cards recommend."""
    processor = processor_of(family)
    if isinstance(processor.backend, ComposedProcessor):
        pytest.skip("the processor itself needs torchvision; run make test-torchvision")
    content = [{"type": "image", "image": picture} for picture in pictures] + [{"type": "text", "text": QUESTION}]
    expected = processor.backend.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip
    check_equal(processor.prompt(pictures, QUESTION), expected)


@FAMILY
def test_a_conversation_is_what_the_processor_itself_makes_of_it(family: str) -> None:
    processor, pictures = processor_of(family), PICTURES["several"]
    if isinstance(processor.backend, ComposedProcessor):
        pytest.skip("the processor itself needs torchvision; run make test-torchvision")
    first, second, third = ({"type": "image", "image": picture} for picture in pictures)
    conversation = [
        {"role": "system", "content": [text("w1")]},
        {"role": "user", "content": [first, text("w2"), second]},
        {"role": "assistant", "content": [text("w3")]},
        {"role": "user", "content": [text("w4"), third, text("w5")]},
    ]
    expected = processor.backend.apply_chat_template(
        conversation, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    sample = Sample(
        id="s",
        images=tuple(EmbeddedImage(str(number), partial(encoded, picture)) for number, picture in enumerate(pictures)),
        turns=(
            Turn(role="system", text="w1"),
            Turn(role="user", text=f"w2{IMAGE_PLACE}"),
            Turn(role="assistant", text="w3"),
        ),
        question=f"w4{IMAGE_PLACE}w5",
    )
    found = inputs_of(processor, sample)
    check_equal(found, expected)
    with torch.no_grad(), apply(model_of(family), Plan((Keep(layer=2, keep_ratio=0.5),))) as run:
        model_of(family)(**found)
    assert torch.isin(found["input_ids"][0, run.kept[2][0]], torch.tensor(parts_of(model_of(family)).visual_ids)).all()


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def encoded(picture: Image.Image) -> bytes:
    stream = BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


@with_torchvision
@QWEN
@PICTURE
def test_composed_inputs_equal_the_processors_own(family: str, pictures: list[Image.Image]) -> None:
    own = processor_of(family)
    assert not isinstance(own.backend, ComposedProcessor)
    parts = ComposedProcessor(own.backend.image_processor, own.tokenizer, own.backend.chat_template)
    check_equal(PromptProcessor(parts).prompt(pictures, QUESTION), own.prompt(pictures, QUESTION))


@with_torchvision
@FAMILY
@PICTURE
def test_pillow_and_torchvision_differ_only_in_the_rounding_of_pixels(
    family: str, pictures: list[Image.Image], tmp_path: Path
) -> None:
    processor = saved_processor(family)
    ours = processor.prompt(pictures, QUESTION)
    assert processor.image_limits()["backend"] == "torchvision"
    processor.backend.image_processor = AutoImageProcessor.from_pretrained(
        save_processor(family, tmp_path), backend="pil"
    )
    without = processor.prompt(pictures, QUESTION)
    assert processor.image_limits()["backend"] == "pil"
    if pictures:
        pixels, others = ours.pop("pixel_values"), without.pop("pixel_values")
        assert pixels.shape == others.shape and pixels.dtype == others.dtype
        apart = (pixels - others).abs()
        assert apart.max() < LARGEST and apart.mean() < MEAN
    check_equal(without, ours)


@FAMILY
@pytest.mark.parametrize("written", [False, True], ids=["added by the tokenizer", "written by the template too"])
def test_a_text_begins_once(family: str, written: bool) -> None:
    """The templates of Gemma 3, Mistral 3 and Llama 3 begin with the token that their tokenizers add."""
    processor = saved_processor(family)
    tokens: Any = processor.tokenizer
    tokens.bos_token = "w0"
    tokens.backend_tokenizer.post_processor = TemplateProcessing(single="w0 $A", special_tokens=[("w0", 0)])
    processor.backend.chat_template = ("{{ bos_token }} " if written else "") + template(family)
    for pictures in ([], PICTURES["odd"]):
        ids = processor.prompt(pictures, QUESTION)["input_ids"][0].tolist()
        assert ids[0] == 0 and ids.count(0) == 1


@FAMILY
def test_a_question_cannot_spell_an_image_or_a_video(family: str) -> None:
    names = [CHECKPOINTS[family].special[60]]
    if CHECKPOINTS[family].video:
        names.append(CHECKPOINTS[family].special[61])
    for name in names:
        with pytest.raises(HalfVError, match="spells a token that stands for images"):
            processor_of(family).prompt(PICTURES["odd"], f"w8 {name} w9")


@pytest.mark.skipif(TORCHVISION, reason="torchvision is here")
@pytest.mark.parametrize("family", sorted(set(CHECKPOINTS) - set(READABLE)))
def test_a_processor_that_needs_torchvision_is_one_line(family: str, tmp_path: Path) -> None:
    with pytest.raises(HalfVError, match="cannot be built .*; pip install torchvision"):
        load_processor(str(save_processor(family, tmp_path)), offline=True)


@with_torchvision
def test_a_processor_that_lacks_another_package_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.models.smolvlm.processing_smolvlm.num2words", None)
    with pytest.raises(HalfVError) as caught:
        load_processor(str(save_processor("smolvlm", tmp_path)), offline=True)
    assert "cannot be built (ImportError: Package `num2words` is required" in str(caught.value)
    assert "torchvision" not in str(caught.value) and "\n" not in str(caught.value)
