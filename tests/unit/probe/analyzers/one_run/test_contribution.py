"""Contributions of a run, against the attention output that the model itself projects, and findings by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from halfv_core.selectors.contributions import Contributions, contributions
from probe.analyzers.findings import Bars, LayerSeries, SampleTable, TokenMap
from probe.analyzers.one_run.contribution import LONG_SHARE, Contribution
from probe.analyzers.visipruner_stages import FILTER_BELOW
from probe.capture.prompt_run import PromptRun
from tests.tiny import LAYERS, TINY, tiny_model, tiny_prompt


def looked_at(run: PromptRun) -> list[Contributions]:
    probe = Contribution()
    return run.at_every_layer(lambda layer, view: probe.look(layer, view, run))


@pytest.mark.parametrize("family", sorted(TINY))
def test_the_output_is_what_the_model_projects(family: str) -> None:
    """And each visual token's part is what its attention makes of its value."""
    run = PromptRun(tiny_model(family, kernel="eager"), tiny_prompt(family, images=2))
    entering: list[torch.Tensor] = []
    values: list[torch.Tensor] = []
    for layer in run.parts.layers:
        attention = layer.self_attn
        attention.o_proj.register_forward_pre_hook(lambda module, args: entering.append(args[0][0, -1]))
        attention.v_proj.register_forward_hook(lambda module, args, output: values.append(output[0]))
    with torch.no_grad():
        weights = run.model(**run.inputs, output_attentions=True).attentions
    outputs, made = list(entering), list(values)
    for layer, found in enumerate(looked_at(run)):
        torch.testing.assert_close(found.output_norm, outputs[layer].norm(), rtol=1e-4, atol=1e-5)
        groups = run.parts.layers[layer].self_attn.num_key_value_groups
        width = run.parts.layers[layer].self_attn.head_dim
        for place, token in enumerate(run.visual.nonzero()[:, 0].tolist()):
            by_head = made[layer][token].view(-1, width).repeat_interleave(groups, 0)  # (H, d)
            part = (weights[layer][0, :, -1, token, None] * by_head).flatten()
            torch.testing.assert_close(found.norms[place], part.norm(), rtol=1e-3, atol=1e-5)
            cosine = torch.cosine_similarity(outputs[layer] - part, outputs[layer], dim=0)
            torch.testing.assert_close(found.cosines[place], cosine, rtol=1e-4, atol=1e-5)


def test_the_relative_threshold_is_the_filters_at_right_angles() -> None:
    """A part that stands at right angles to the rest, and has 0.1 of the output's length, turns it to 0.995."""
    angle = math.asin(LONG_SHARE)
    values = torch.tensor([[[math.sin(angle), 0.0], [0.0, math.cos(angle)]]])  # (1, 2, 2), with o of length 1
    found = contributions(torch.ones(1, 2), values, torch.tensor([0]))
    assert float(found.norms / found.output_norm) == pytest.approx(LONG_SHARE)
    assert float(found.cosines) == pytest.approx(FILTER_BELOW, abs=2e-5)


def found_in(norms: list[list[float]], cosines: list[list[float]], output: float = 2.0) -> list[Contributions]:
    """One layer for each row."""
    rows = zip(norms, cosines, strict=True)
    return [Contributions(torch.tensor(own), torch.tensor(turns), torch.tensor(output)) for own, turns in rows]


def measured(looked: list[Contributions], *, example: bool = False) -> Any:
    run = PromptRun(tiny_model("llava"), tiny_prompt("llava"))  # nothing of it is read
    return Contribution().measure(run, looked, example=example)


def test_findings_count_and_find_layers_and_stages() -> None:
    quiet, loud = [0.9999, 0.99995], [0.9999, 0.99]
    norms = [[0.1, 0.1], [0.1, 0.3], [0.21, 0.3], [0.1, 0.1]]
    first = measured(found_in(norms, [quiet, loud, quiet, quiet]), example=True)
    second = measured(found_in(norms, [quiet, quiet, loud, quiet]))
    lowest, long, long_share, table, filtered, left, stages, shown = Contribution().combine({"a": first, "b": second})
    assert isinstance(lowest, LayerSeries) and isinstance(table, SampleTable) and isinstance(stages, Bars)
    assert lowest.mean == pytest.approx((0.9999, 0.99495, 0.99495, 0.9999))
    assert long.mean == (0, 1, 2, 0) and long_share.mean == (0, 1, 2, 0)
    assert table.values == pytest.approx(np.array([[0.9999, 0.99, 0.9999, 0.9999], [0.9999, 0.9999, 0.99, 0.9999]]))
    assert filtered.values == ((1.0,), (2.0,))
    assert left.values == ((3.0,), (4.0,))
    assert stages.conditions == ("middle", "deep") and stages.mean == (1.0, 4.0)
    assert isinstance(shown, TokenMap) and shown.example == "a"
    assert shown.values == pytest.approx(np.array(norms) / 2)


def test_only_the_published_threshold_depends_on_the_scale_of_values() -> None:
    norms, cosines = [[0.05, 0.15, 0.3]] * LAYERS, [[0.999] * 3] * LAYERS
    small = measured(found_in(norms, cosines, 1.0))
    large = measured(found_in([[50 * norm for norm in row] for row in norms], cosines, 50.0))
    assert small["long_share"] == large["long_share"] == [2] * LAYERS
    assert (small["long"], large["long"]) == ([1] * LAYERS, [3] * LAYERS)


def test_an_output_of_length_nothing_and_rounding_leave_finite_numbers() -> None:
    item = measured(found_in([[0.0]], [[0.0]], 0.0), example=True)
    assert item["shares"] == [[0.0]] and item["min_cosine"] == [0.0]
    assert measured(found_in([[0.0]], [[1.000002]]))["min_cosine"] == [1.0]


def test_what_the_report_recomputes_is_what_was_found() -> None:
    """The table has the rounded cosines by which the layers were found."""
    item = measured(found_in([[0.0]] * 3, [[1.0], [1.0], [0.9949997]]))
    found = {finding.name: finding for finding in Contribution().combine({"a": item})}
    assert found["min_cosines"].values == ((1.0, 1.0, 0.995),)
    assert found["filter_layer"].values == ((3.0,),)
