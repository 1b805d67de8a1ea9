"""Variation against closed forms, invariances, and the selectors that rank by it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from halfv_core.errors import DataError
from halfv_core.runtime.patching import wrapped
from halfv_core.selectors.transprune import transition_weight
from probe.analyzers.one_run.modalities import by_modality
from probe.analyzers.one_run.variation import Variation, changes, transitions, updates
from probe.capture.prompt_run import PromptRun
from probe.capture.sublayers import SubLayers, sublayer_wraps
from tests.tiny import LAYERS, tiny_model, tiny_prompt


def states(*rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows)


def test_a_quarter_turn_and_a_stretch() -> None:
    change = changes(states([[3.0, 0.0], [0.0, 2.0]], [[0.0, 4.0], [0.0, 5.0]]))
    assert change.length.tolist() == [[5.0, 3.0]]
    torch.testing.assert_close(change.ratio, torch.tensor([[5 / 3, 1.5]]))
    torch.testing.assert_close(change.turn, torch.tensor([[1.0, 0.0]]))


def test_states_of_zeros_and_layers_that_do_nothing() -> None:
    change = changes(states([[0.0, 0.0], [1.0, 2.0]], [[1.0, 0.0], [1.0, 2.0]]))
    assert change.length.tolist() == [[1.0, 0.0]]
    assert change.ratio.tolist() == [[0.0, 0.0]]
    assert change.turn[0, 1] == pytest.approx(0.0, abs=1e-6)
    assert all(part.isfinite().all() for part in change)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_only_the_length_is_on_the_scale_of_the_states(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(4, 5, 6, generator=generator)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q
    plain, other = changes(hidden), changes(scale * hidden @ rotation)
    torch.testing.assert_close(other.length, scale * plain.length, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(other.ratio, plain.ratio, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(other.turn, plain.turn, rtol=1e-3, atol=1e-4)
    assert (plain.turn <= 2).all() and plain.length.shape == (3, 5)


def test_a_sublayer_that_doubles_and_one_that_is_at_right_angles() -> None:
    ones = torch.ones(1, 2, 1)
    sublayers = SubLayers(4 * ones, 2 * ones, 4 * ones, torch.tensor([[[1.0], [0.0]]]))
    torch.testing.assert_close(transitions(sublayers)[0, :, 0], torch.tensor([2.0, 2 * math.e]))
    assert updates(sublayers).tolist() == [[[1.0], [1.0]]]


@torch.no_grad()
def test_transitions_are_those_of_transprune_up_to_its_normalisation() -> None:
    """TransPrune shares exp(1 - cosine) out among all tokens."""
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    run, weights = PromptRun(model, inputs), {}

    def note(layer: int, sublayer: int, x: torch.Tensor, b: torch.Tensor, f: torch.Tensor) -> None:
        weights[layer, sublayer] = transition_weight(b[0], f[0])

    with wrapped(sublayer_wraps(run.parts, note), plan=False):
        model(**inputs)
    whole = torch.exp(1 - run.sublayers.cosine).sum(-1)
    for (layer, sublayer), wanted in weights.items():
        torch.testing.assert_close(transitions(run.sublayers)[layer, sublayer] / whole[layer, sublayer], wanted)


def test_means_are_over_the_tokens_of_a_modality() -> None:
    run, probe = PromptRun(tiny_model("qwen2_vl"), tiny_prompt("qwen2_vl", images=2)), Variation()
    item = probe.measure(run, [], example=False)
    findings = {finding.name: finding for finding in probe.combine({"a": item, "b": item})}
    before, after = run.states[:-1].double(), run.states[1:].double()
    length, turn = (after - before).norm(dim=-1), 1 - torch.cosine_similarity(before, after, dim=-1)
    quantities = {"length": length, "ratio": length / before.norm(dim=-1), "turn": turn}
    for index, sublayer in enumerate(("attention", "mlp")):
        quantities[f"transition_{sublayer}"] = transitions(run.sublayers)[:, index]
        quantities[f"update_{sublayer}"] = updates(run.sublayers)[:, index]
    for quantity, tokens in quantities.items():
        for modality, group in (("visual", run.visual), ("text", ~run.visual)):
            found = findings.pop(f"{quantity}_{modality}")
            assert len(found.mean) == LAYERS and found.samples == 2
            assert found.mean == pytest.approx(tokens[:, group].mean(-1).tolist(), abs=1e-5)
    assert not findings


def test_a_prompt_without_text_or_without_image_is_no_sample() -> None:
    with pytest.raises(DataError, match="there is no text token"):
        by_modality(torch.ones(3, dtype=torch.bool))
    with pytest.raises(DataError, match="there is no visual token"):
        by_modality(torch.zeros(3, dtype=torch.bool))
