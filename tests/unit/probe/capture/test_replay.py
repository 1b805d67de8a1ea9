"""Runs that start at a later layer equal complete ones and skip the layers before it."""

import pytest
import torch

from halfv_core import Freeze, Keep, Plan, apply
from halfv_core.errors import DataError, UnsupportedError
from halfv_core.families import FAMILIES, admission, parts_of
from probe.capture.replay import Replay
from probe.evaluation.flops import flop_counter
from probe.trials.answers import read_answer
from tests.any_model import any_model, any_prompt
from tests.contract.test_families import KERNEL
from tests.tiny import LAYERS, tiny_batch, tiny_model, tiny_prompt

ANSWER = torch.tensor([5, 9, 7])
FAMILY = pytest.mark.parametrize("family", sorted(FAMILIES))


@FAMILY
@KERNEL
@pytest.mark.parametrize("layer", [1, LAYERS - 1])
@torch.no_grad()
def test_a_variant_equals_the_whole_run(family: str, kernel: str, layer: int) -> None:
    """Logits, KV caches and an answer's score, bit for bit, for several variants in a row."""
    model, inputs = tiny_model(family, kernel=kernel), tiny_prompt(family, images=2)
    plans = [
        Plan((Keep(layer=layer, keep_ratio=0.5, selector="attention"),)),
        Plan((Keep(layer=layer, keep_ratio=0.2), Freeze(layers=[LAYERS - 1]))),
        Plan((Freeze(layers=range(layer, LAYERS)),)),
        Plan(()),
    ]
    whole = []
    for plan in plans:
        with apply(model, plan) as run:
            whole.append(
                (model(**inputs, logits_to_keep=1).logits[0, -1], read_answer(model, inputs, ANSWER)[:2], run.cost)
            )
    replay = Replay(model, inputs)
    for plan, (logits, reading, cost) in zip(plans, whole, strict=True):
        with replay.from_layer(layer), apply(model, plan) as run:
            assert torch.equal(model(**inputs, logits_to_keep=1).logits[0, -1], logits)
            assert read_answer(model, inputs, ANSWER)[:2] == reading
            assert run.cost == cost
    assert torch.equal(replay.logits, whole[-1][0])


@pytest.mark.parametrize("name", ["gemma3", "lfm3_vl", "qwen3_5"])
@torch.no_grad()
def test_states_and_windows_are_put_back(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of layers with a running state, and of sliding windows that the prompt is longer than."""
    known = name in FAMILIES
    model = tiny_model(name) if known else any_model(name)
    inputs = tiny_prompt(name, images=2) if known else any_prompt(name, images=2)
    monkeypatch.setattr(admission, "_admitted", {parts_of(model).pair})
    if model.config.get_text_config().to_dict().get("sliding_window"):
        model.config.get_text_config().sliding_window = 9
    plan = Plan((Keep(layer=3, keep_ratio=0.3, selector="uniform"), Freeze(layers=[4])))
    with apply(model, plan) as run:
        logits, reading = model(**inputs, logits_to_keep=1).logits, read_answer(model, inputs, ANSWER)[:2]
        cost = run.cost
    with Replay(model, inputs).from_layer(3), apply(model, plan) as run:
        assert torch.equal(model(**inputs, logits_to_keep=1).logits, logits)
        assert read_answer(model, inputs, ANSWER)[:2] == reading
        assert run.cost == cost


@FAMILY
@torch.no_grad()
def test_only_the_layers_that_are_asked_for_run(family: str) -> None:
    model, inputs = tiny_model(family), tiny_prompt(family)
    replay, forwards = Replay(model, inputs), [layer.forward for layer in parts_of(model).layers]
    counts = []
    for layer in range(LAYERS + 1):
        with replay.from_layer(layer), flop_counter() as counting:
            model(**inputs, logits_to_keep=1)
        counts.append(counting.get_total_flops())
    head = 2 * 32 * model.config.get_text_config().vocab_size
    with apply(model, Plan(())) as run:
        model(**inputs)
    assert counts == [head + run.cost.prefill_flops_full * (LAYERS - layer) // LAYERS for layer in range(LAYERS + 1)]
    assert [layer.forward for layer in parts_of(model).layers] == forwards


def test_refusals() -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    with pytest.raises(DataError, match="a replay is of one prompt; got a batch of 2"):
        Replay(model, tiny_batch("llava", [{}, {}]))
    plan = Plan((Keep(layer=1, keep_ratio=0.5),))
    with apply(model, plan), pytest.raises(UnsupportedError, match="a plan is applied to this model already"):
        Replay(model, inputs)
