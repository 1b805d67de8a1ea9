"""What selectors are told of the vision tower, against what the towers computed themselves."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, PreTrainedModel

from halfv_core.errors import PlanError, UnsupportedError
from halfv_core.families import FAMILIES
from halfv_core.merges import make_merge
from halfv_core.runtime.patching import Forward, Wrap, wrapped
from halfv_core.runtime.vision_packed import window_order
from halfv_core.runtime.vision_readings import RowReadings, VisionRecorder
from halfv_core.selectors import PromptSelector, make_selector
from tests.tiny import END, IMAGE, START, VIDEO, tiny_batch, tiny_model, tiny_prompt
from tests.vision_readings import VisionPrompt

PACKED = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"]


@contextmanager
def recording(model: PreTrainedModel, layers: list[int]) -> Iterator[list[RowReadings]]:
    """Yields a list that holds the readings of the latest call of the core with images, as apply() would use them."""
    recorder, latest = VisionRecorder(model, None, layers), []

    def around_core(forward: Forward) -> Forward:
        @wraps(forward)
        def run_core(*args: Any, **kwargs: Any) -> Any:
            recorder.begin(kwargs.get("mm_encoder_outputs"))
            output = forward(*args, **kwargs)
            ids = args[0] if args else kwargs.get("input_ids")
            if ids is not None and bool((ids == IMAGE).any() | (ids == VIDEO).any()):
                latest[:] = recorder.rows(ids, torch.device("cpu"))
            recorder.end()
            return output

        return run_core

    with torch.no_grad(), wrapped([Wrap(model.model, "forward", around_core), *recorder.wraps()]):
        yield latest


def uneven_batch(model_type: str) -> dict[str, Any]:
    return tiny_batch(model_type, [{"images": 2}, {"images": 0}, {"images": 1, "after": 3}])


# CLIP


def test_readings_of_clip_are_what_the_tower_computed() -> None:
    model, batch = tiny_model("llava", kernel="eager"), uneven_batch("llava")
    with recording(model, [-2, 1]) as rows:
        model(**batch)
    with torch.no_grad():
        tower = model.model.vision_tower(batch["pixel_values"], output_attentions=True, output_hidden_states=True)
    assert [len(row.features()) for row in rows] == [32, 0, 16]
    for row, images in ((rows[0], [0, 1]), (rows[2], [2])):
        assert row.has_cls and row.grids == [(1, 4, 4)] * len(images)
        for layer in (-2, -1, 0, 1):
            attention = tower.attentions[layer][images].mean(1)  # (images, 17, 17)
            torch.testing.assert_close(row.attention(layer), attention[:, 0, 1:].flatten())
            mean = attention[:, :, 1:].sum(1).flatten() / (17 * len(images))
            torch.testing.assert_close(row.column_mean(layer), mean)
            entered = tower.hidden_states[layer - 1 if layer < 0 else layer][images]
            part = model.model.vision_tower.encoder.layers[layer]
            queries, keys = (
                project(part.layer_norm1(entered)) for project in (part.self_attn.q_proj, part.self_attn.k_proj)
            )
            torch.testing.assert_close(row.keys(layer), keys.unflatten(-1, (2, -1)).mean(-2)[:, 1:].flatten(0, 1))
            torch.testing.assert_close(row.keys(layer, whole=True), keys[:, 1:].flatten(0, 1))
            attention = (queries @ keys.mT * keys.shape[-1] ** -0.5).softmax(-1)
            torch.testing.assert_close(row.attention(layer, whole=True), attention[:, 0, 1:].flatten())
            mean = attention[:, :, 1:].sum(1).flatten() / (17 * len(images))
            torch.testing.assert_close(row.column_mean(layer, whole=True), mean)
        features = tower.hidden_states[model.config.vision_feature_layer][images][:, 1:].flatten(0, 1)
        torch.testing.assert_close(row.features(), features)
        torch.testing.assert_close(row.project(features), model.model.multi_modal_projector(features))


def test_a_projector_that_takes_cls_is_refused() -> None:
    model, prompt = tiny_model("llava"), tiny_prompt("llava")
    model.config.vision_feature_select_strategy = "full"
    prompt["input_ids"] = torch.cat([torch.tensor([[IMAGE]]), prompt["input_ids"]], 1)
    with recording(model, [0]) as rows, pytest.raises(UnsupportedError, match="do not form a square; got 17 tokens"):
        model(input_ids=prompt["input_ids"], pixel_values=prompt["pixel_values"])
    assert not rows


# Tiles


def test_readings_of_tiles_stand_where_the_model_puts_their_patches() -> None:
    """Tiles of 4 x 4 patches, 2 above each other; half of the first image's columns are padding, which is left out."""
    config = tiny_model("llava_next").config
    config.vision_config.patch_size = 8
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config).eval()
    torch.nn.init.normal_(model.model.image_newline)
    model.set_attn_implementation("eager")
    sizes, entered = torch.tensor([[64, 16], [64, 32], [64, 16]]), []
    lengths = [16 + 8 * 3, 16 + 8 * 5, 16 + 8 * 3]
    rows = [[5, *[IMAGE] * lengths[0], 6, *[IMAGE] * lengths[1], 7], [5] * 99, [5, *[IMAGE] * lengths[2], *[7] * 58]]
    ids, pixels = torch.tensor(rows), torch.randn(3, 3, 3, 32, 32)
    model.model.language_model.register_forward_pre_hook(
        lambda _module, _args, kwargs: entered.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    with recording(model, [0]) as readings:
        model(input_ids=ids, pixel_values=pixels, image_sizes=sizes)
    with torch.no_grad():
        tower = model.model.vision_tower(pixels.flatten(0, 1), output_attentions=True, output_hidden_states=True)
        features = tower.hidden_states[config.vision_feature_layer][:, 1:].flatten(0, 1)  # of all patches
        projected = model.model.multi_modal_projector(features)
    attention = tower.attentions[0].mean(1)
    assert readings[0].grids == [(1, 4, 4), (1, 8, 3), (1, 4, 4), (1, 8, 5)]
    assert (readings[1].grids, readings[2].grids) == ([], [(1, 4, 4), (1, 8, 3)])
    for row, images in ((0, 2), (2, 1)):
        tokens = entered[0][row, ids[row] == IMAGE]
        newline = (tokens - model.model.image_newline).abs().sum(1) < 1e-5
        assert newline.sum() == 8 * images
        patch = torch.stack([(projected - token).abs().sum(1).argmin() for token in tokens[~newline]])
        torch.testing.assert_close(projected[patch], tokens[~newline])  # a token is known by what it looks like
        expected = {
            "attention": attention[:, 0, 1:].flatten(),
            "column_mean": attention[:, :, 1:].sum(1).flatten() / (17 * 3 * images),
        }
        for name, of_patches in expected.items():
            found = getattr(readings[row], name)(0)
            torch.testing.assert_close(found[~newline], of_patches[patch])
            assert not found[newline].any()
        torch.testing.assert_close(readings[row].features()[~newline], features[patch])
        assert not readings[row].features()[newline].any() and not readings[row].keys(0)[newline].any()


# Towers of one packed sequence


def packed_model(model_type: str, kernel: str = "sdpa") -> PreTrainedModel:
    """A model whose tower has two layers or more; Qwen2.5-VL's first one looks at windows of 2 x 2 tokens only."""
    config = tiny_model(model_type).config
    config.vision_config.depth = max(2, config.vision_config.depth)
    if model_type == "qwen2_5_vl":
        config.vision_config.fullatt_block_indexes = [1]
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config).eval()
    model.set_attn_implementation(kernel)
    return model


def inputs_of(
    rows: list[list[tuple[int, tuple[int, int, int]]]], *, by_frame: bool = False, seed: int = 0
) -> dict[str, Any]:
    """A batch whose rows hold images and videos, (token id, grid in patches) each, between text.

    Args:
        by_frame: whether there is text between the frames of a video.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = []
    for row in rows:
        tokens = [5, 6, 7]
        for kind, (frames, height, width) in row:
            parts = frames if by_frame else 1
            tokens += [8, START, *[kind] * (frames * height * width // 4 // parts), END, 9] * parts
        ids.append(tokens)
    length = max(map(len, ids))
    inputs: dict[str, Any] = {
        "input_ids": torch.tensor([[0] * (length - len(row)) + row for row in ids]),
        "attention_mask": torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in ids]),
    }
    inputs["mm_token_type_ids"] = (inputs["input_ids"] == IMAGE).int() + 2 * (inputs["input_ids"] == VIDEO).int()
    names = {IMAGE: ("pixel_values", "image_grid_thw"), VIDEO: ("pixel_values_videos", "video_grid_thw")}
    for kind, (pixels, grid) in names.items():
        grids = [size for row in rows for token, size in row if token == kind]
        if grids:
            patches = sum(frames * height * width for frames, height, width in grids)
            inputs[pixels] = torch.randn(patches, 3 * 2 * 8 * 8, generator=generator)
            inputs[grid] = torch.tensor(grids)
    return inputs


MIXED = [
    [(IMAGE, (1, 4, 12)), (VIDEO, (2, 6, 4)), (IMAGE, (1, 10, 6))],
    [],
    [(VIDEO, (3, 4, 4)), (IMAGE, (1, 4, 6))],
]
IMAGES = [[(IMAGE, (1, 4, 12)), (IMAGE, (1, 10, 6))], [], [(IMAGE, (1, 6, 6))]]


class Seen:
    """What the parts of a tower computed, in its own order, for all its calls one after the other."""

    def __init__(self, model: PreTrainedModel, layer: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.received: list[torch.Tensor] = []
        """By segment, (length,) attention received, mean over heads."""
        self.keys: list[torch.Tensor] = []
        self.merged: list[torch.Tensor] = []
        """(T, D) by call."""
        tower = model.model.visual
        attention = tower.blocks[layer].attn
        eager = sys.modules[type(attention).__module__].eager_attention_forward

        def run_eager(module: Any, *args: Any, **kwargs: Any) -> Any:
            output, weights = eager(module, *args, **kwargs)
            if module is attention:
                self.received.append(weights[0].mean(0).sum(0))
            return output, weights

        monkeypatch.setattr(sys.modules[type(attention).__module__], "eager_attention_forward", run_eager)
        heads = attention.num_heads
        self.hook = attention.qkv.register_forward_hook(
            lambda _module, _args, made: self.keys.append(made.chunk(3, 1)[1].unflatten(1, (heads, -1)).mean(1))
        )
        tower.merger.register_forward_hook(lambda _module, _args, made: self.merged.append(made))

    def in_prompt_order(self, visual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Attention received and keys of tokens, mean over patches, for tokens (V, D) as they enter the decoder."""
        merged = torch.cat(self.merged)
        place = torch.stack([(merged - token).abs().sum(1).argmin() for token in visual])
        assert len(place.unique()) == len(place)  # a token is known by what it looks like
        received = torch.cat(self.received).view(len(merged), 4).mean(1)
        return received[place], torch.cat(self.keys).view(len(merged), 4, -1).mean(1)[place]


@pytest.mark.parametrize("rows", [IMAGES, MIXED], ids=["images", "mixed"])
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("model_type", PACKED)
def test_readings_of_a_packed_tower_stand_at_the_tokens_of_the_prompt(
    model_type: str, layer: int, rows: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = packed_model(model_type, "eager")
    seen, entered = Seen(model, layer, monkeypatch), []
    batch = inputs_of(rows, by_frame=model_type == "qwen3_vl")
    model.model.language_model.register_forward_pre_hook(
        lambda _module, _args, kwargs: entered.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    with recording(model, [layer]) as readings:
        model(**batch)
    seen.hook.remove()
    for row, reading in enumerate(readings):
        visual = (batch["input_ids"][row] == IMAGE) | (batch["input_ids"][row] == VIDEO)
        assert reading.grids == [(frames, height // 2, width // 2) for _, (frames, height, width) in rows[row]]
        assert len(reading.features()) == visual.sum()
        if not visual.any():
            continue
        tokens = entered[0][row, visual]
        received, keys = seen.in_prompt_order(tokens)
        assert not reading.has_cls
        torch.testing.assert_close(reading.column_mean(layer), received / (4 * len(tokens)))
        torch.testing.assert_close(reading.attention(layer), reading.column_mean(layer))
        torch.testing.assert_close(reading.keys(layer), keys)
        torch.testing.assert_close(reading.project(reading.features()), tokens)
        some = torch.arange(len(tokens)).flip(0)[::3]
        torch.testing.assert_close(reading.at(some).column_mean(layer), reading.column_mean(layer)[some])
        torch.testing.assert_close(reading.at(some).project(reading.at(some).features()), tokens[some])


def test_windows_are_not_the_order_of_the_prompt() -> None:
    """Without which the test above could not fail for Qwen2.5-VL."""
    assert window_order([(1, 2, 6)], 2).tolist() == [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]


@pytest.mark.parametrize("model_type", ["llava", "llava_next", "qwen2_5_vl"])
@pytest.mark.parametrize("name", ["visionzip", "vispruner", "holov", "hiprune", "prumerge", "scope"])
def test_selectors_read_what_they_named(name: str, model_type: str) -> None:
    """With the layers that a selector names, and no others, it chooses; and so do the merges."""
    options = {"object_layer": 0} if name == "hiprune" else {}
    selector = make_selector(name, options)
    assert isinstance(selector, PromptSelector)
    model = packed_model(model_type) if model_type in PACKED else tiny_model(model_type)
    merges = [make_merge(merge, {}) for merge in ("visionzip", "prumerge")]
    layers = selector.tower_layers().union(*(merge.tower_layers() for merge in merges))
    with recording(model, sorted(layers)) as rows:
        model(**uneven_batch(model_type))
    prompt = VisionPrompt(rows[0], torch.rand(32, 32), rows[0].grids)
    chosen = selector.choose(prompt, 7)
    assert len(chosen.unique()) == 7 and chosen.max() < 32
    for merge in merges:
        merged = merge.merge(prompt, chosen, selector.anchors(7))
        assert merged.states.shape == (7 + merge.extra(32, 7), 32) and bool(merged.states.isfinite().all())
        assert len(merged.chosen.unique()) == len(merged.states)


# Calls of the model


@pytest.mark.parametrize("model_type", ["llava", "llava_next", *PACKED])
def test_generate_gives_the_readings_of_each_beam(model_type: str) -> None:
    model, batch = tiny_model(model_type), uneven_batch(model_type)
    with recording(model, [0]) as rows:
        model(**batch)
        expected = list(rows)
        rows.clear()
        model.generate(**batch, max_new_tokens=3, num_beams=2)
    assert len(rows) == 6
    for row, reading in enumerate(rows):
        alone = expected[row // 2]
        assert reading.grids == alone.grids
        if alone.grids:
            torch.testing.assert_close(reading.attention(0), alone.attention(0))
            torch.testing.assert_close(reading.features(), alone.features())


def test_nothing_is_left_of_the_recorder() -> None:
    model = tiny_model("qwen2_5_vl")
    before = [(module, set(module.__dict__)) for module in model.modules()]
    with pytest.raises(ZeroDivisionError), recording(model, [0]):
        model(**tiny_prompt("qwen2_5_vl"))
        raise ZeroDivisionError
    assert all(set(module.__dict__) == names for module, names in before)


@pytest.mark.parametrize("model_type", ["llava", "llava_next", "qwen2_5_vl"])
def test_the_model_answers_as_without_it(model_type: str) -> None:
    model, batch = tiny_model(model_type), uneven_batch(model_type)
    with torch.no_grad():
        expected = model(**batch).logits
    with recording(model, [0]):
        assert torch.equal(model(**batch).logits, expected)


def test_what_the_tower_made_before_is_not_taken_for_another_prompt() -> None:
    model, prompt = tiny_model("llava"), tiny_prompt("llava")
    with torch.no_grad():
        before = model.model.get_image_features(prompt["pixel_values"], return_dict=True)
    with recording(model, [0]), pytest.raises(UnsupportedError, match="0 tokens that it made for 16 in the prompt"):
        model.model.get_image_features(tiny_prompt("llava", seed=1)["pixel_values"])
        model(input_ids=prompt["input_ids"], mm_encoder_outputs={"image": before})


def test_what_the_tower_made_inside_the_block_may_be_used_twice() -> None:
    model, prompt = tiny_model("llava"), tiny_prompt("llava")
    with recording(model, [0]) as rows:
        encoded = {"image": model.model.get_image_features(prompt["pixel_values"], return_dict=True)}
        model(input_ids=prompt["input_ids"], mm_encoder_outputs=encoded)
        first = rows[0].attention(0)
        rows.clear()
        model(input_ids=prompt["input_ids"], mm_encoder_outputs=encoded)
    torch.testing.assert_close(rows[0].attention(0), first)


@pytest.mark.parametrize("model_type", sorted(set(FAMILIES) - {"llava", "llava_next", *PACKED}))
def test_other_families_are_refused_in_one_line(model_type: str) -> None:
    with pytest.raises(
        UnsupportedError, match=f"^{re.escape(FAMILIES[model_type].name)}: it is not known which patches"
    ):
        VisionRecorder(tiny_model(model_type), None, [0])


def test_a_layer_that_the_tower_lacks_is_refused() -> None:
    with pytest.raises(PlanError, match=r"the vision tower has no such layer; got 9; expected -2\.\.1"):
        VisionRecorder(tiny_model("llava"), None, [9])
    model = tiny_model("llava")
    with recording(model, [0]) as rows:
        model(**tiny_prompt("llava"))
    with pytest.raises(UnsupportedError, match="nobody said that layer 1 of the vision tower"):
        rows[0].attention(-1)
