"""Image heads, on attention by hand and on a run with planted sinks."""

import torch

from probe.analyzers.findings import HeadMap, LayerSeries
from probe.analyzers.one_run.image_heads import ImageHeads, are_image_heads
from probe.capture.hidden_states import Capture
from probe.capture.prompt_run import PromptRun
from tests.tiny import tiny_model, tiny_prompt

SINKS = torch.tensor([False, True, False, False])


def test_a_head_looks_at_the_image_and_not_only_at_sinks() -> None:
    attention = torch.tensor(
        [
            [0.125, 0.125, 0.0, 0.0],  # half of it to the sink, which is allowed
            [0.1, 0.15, 0.0, 0.0],  # more than half
            [0.0625, 0.0, 0.0625, 0.0625],  # too little of the image
            [0.0, 0.0, 0.0, 0.2],
            [0.0, 0.0, 0.0, 0.0],
        ]
    )
    assert are_image_heads(attention, SINKS).tolist() == [True, False, False, True, False]


def test_without_sinks_only_the_visual_share_counts() -> None:
    attention = torch.tensor([[0.0, 0.3, 0.0, 0.0], [0.0, 0.1, 0.0, 0.0]])
    assert are_image_heads(attention, torch.zeros(4, dtype=torch.bool)).tolist() == [True, False]


def test_findings_are_shares_of_samples_by_head_and_counts_by_layer() -> None:
    probe = ImageHeads()
    items = {"a": [[1, 0], [1, 1]], "b": [[0, 0], [1, 1]]}
    count, share = probe.combine(items)
    assert isinstance(count, LayerSeries) and isinstance(share, HeadMap)
    assert count.mean == (0.5, 2.0)
    assert share.mean == ((0.5, 0.0), (1.0, 1.0))


def test_a_run_in_which_all_visual_tokens_are_sinks_has_no_image_heads() -> None:
    run = PromptRun(tiny_model("internvl", kernel="eager"), tiny_prompt("internvl"))
    with torch.no_grad():
        attentions = run.model(**run.inputs, output_attentions=True).attentions
    expected = torch.stack([weights[0, :, -1, run.visual].sum(-1) >= 0.2 for weights in attentions])
    probe = ImageHeads()
    looked = run.at_every_layer(lambda layer, view: probe.look(layer, view, run))
    states = run.states.clone()
    states[:, 0, [9, 20]] = 9000.0
    run.__dict__["_raw"] = Capture(states, run.visual)
    assert probe.measure(run, looked, example=False) == expected.int().tolist()
    assert expected.any()
    states[3, run.visual, 9] = 9000.0
    found = torch.tensor(probe.measure(run, looked, example=False))
    assert not found[3].any() and torch.equal(found[:3], expected[:3].int()) and expected[3].any()
