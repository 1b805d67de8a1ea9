"""Mutual information of attention blocks against closed forms, a slow reference and the model's own attention."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.analyzers.one_run.mutual_information import MutualInformation, mutual_information
from probe.capture.prompt_run import PromptRun
from tests.tiny import LAYERS, tiny_model, tiny_prompt

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(0, 10_000))


def block(shape: tuple[int, int, int]) -> torch.Tensor:
    """(T, V) non-negative numbers, some of them 0."""
    rows, columns, seed = shape
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, columns, generator=generator) * (torch.rand(rows, columns, generator=generator) > 0.3)


def slow(matrix: torch.Tensor) -> float:
    """The definition, cell by cell."""
    joint = (matrix.double() / matrix.double().sum()).tolist()
    rows, columns = [sum(row) for row in joint], [sum(column) for column in zip(*joint, strict=True)]
    return math.fsum(
        cell * math.log2(cell / (rows[x] * columns[y]))
        for x, row in enumerate(joint)
        for y, cell in enumerate(row)
        if cell
    )


@pytest.mark.parametrize("tokens", [1, 2, 5, 64])
def test_words_that_look_at_one_place_each(tokens: int) -> None:
    assert float(mutual_information([torch.eye(tokens)])) == pytest.approx(math.log2(tokens), abs=1e-5)


def test_words_that_all_look_alike() -> None:
    outer = torch.rand(5, 1) * torch.rand(1, 30)
    assert float(mutual_information([outer])) == pytest.approx(0.0, abs=1e-5)


def test_two_groups_of_words_that_look_at_halves_of_the_image() -> None:
    halves = torch.block_diag(torch.ones(3, 10), torch.ones(3, 10))
    assert float(mutual_information([halves])) == pytest.approx(1.0, abs=1e-6)


def test_a_block_of_zeros_and_rows_that_see_nothing() -> None:
    assert float(mutual_information([torch.zeros(3, 4)])) == 0.0
    assert float(mutual_information([torch.cat([torch.zeros(3, 4), torch.eye(4)])])) == pytest.approx(2.0, abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(SHAPES, st.floats(1e-3, 1e3))
def test_it_is_the_definition_whatever_the_scale_and_the_order(shape: tuple[int, int, int], scale: float) -> None:
    matrix = block(shape)
    if not matrix.any():
        return
    bits = float(mutual_information([matrix]))
    assert bits == pytest.approx(slow(matrix), abs=1e-5)
    assert 0 <= bits <= math.log2(min(matrix.shape)) + 1e-5
    for same in (matrix * scale, matrix.T, matrix.flip(0, 1)):
        assert float(mutual_information([same])) == pytest.approx(bits, abs=1e-5)


def test_rows_may_come_in_pieces() -> None:
    heads = torch.rand(3, 11, 7, generator=torch.Generator().manual_seed(0))
    whole = mutual_information([heads])
    torch.testing.assert_close(mutual_information(heads.split(4, 1)), whole)
    torch.testing.assert_close(whole, torch.tensor([slow(head) for head in heads]))


@pytest.mark.parametrize("family", ["gemma3", "qwen2_5_vl"])
@torch.no_grad()
def test_of_the_models_own_attention(family: str) -> None:
    """The text behind the first image, with what stands between the images."""
    model, inputs = tiny_model(family, kernel="eager"), tiny_prompt(family, images=2)
    run, probe = PromptRun(model, inputs), MutualInformation()
    item = probe.measure(run, run.at_every_layer(lambda at, prompt: probe.look(at, prompt, run)), example=False)
    behind = ~run.visual & (torch.arange(len(run.visual)) > int(run.visual.int().argmax()))
    series, by_head = probe.combine({"a": item, "b": item})
    assert len(by_head.mean) == LAYERS
    for layer, attention in enumerate(model(**inputs, output_attentions=True).attentions):
        wanted = [slow(head[behind][:, run.visual]) for head in attention[0]]
        assert by_head.mean[layer] == pytest.approx(wanted, abs=1e-4)
        assert series.mean[layer] == pytest.approx(sum(wanted) / len(wanted), abs=1e-4)


def test_samples_without_text_behind_the_image_say_nothing() -> None:
    probe, items = MutualInformation(), {}
    for name, after in (("none", 0), ("some", 4)):
        run = PromptRun(tiny_model("llava"), tiny_prompt("llava", after=after))
        items[name] = probe.measure(run, run.at_every_layer(lambda at, p, r=run: probe.look(at, p, r)), example=False)
    assert items["none"] is None and probe.combine({"none": None}) == []
    assert probe.combine(items)[0].samples == 1
