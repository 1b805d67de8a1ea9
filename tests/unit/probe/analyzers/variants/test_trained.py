"""What the probes say about a bundled model, which answers questions about scenes by looking at them."""

from functools import partial
from typing import Any

import pytest

from halfv_core.models import load_model
from probe import load_samples
from probe.analysis.partners import inputs_over, partners_of
from probe.analyzers.findings import Bars, HeadMap, LayerSeries
from probe.analyzers.probe import PROBES
from probe.calibration.steps.step import ProbedModel
from probe.capture.prompt_run import PromptRun
from probe.trials.answers import greedy_answer
from tests.unit.probe.analyzers.variants.prompts import measured

NAMES = ("drop_from", "heads", "image_patching", "knockout", "layer_contribution", "patching", "token_ablation")


@pytest.fixture(scope="module")
def findings() -> dict[str, Any]:
    """By probe and name, on questions that the model cannot answer without the image."""
    loaded = load_model("tiny-llava", device="cpu")
    items: dict[str, dict[str, Any]] = {name: {} for name in NAMES}
    asked = [sample for sample in load_samples("scenes")[:40] if sample.prompt.startswith("What")]
    model, partners = ProbedModel(loaded.model, loaded.processor), partners_of(asked)
    for sample in asked[:4]:
        inputs = model.inputs(sample)
        run = PromptRun(
            loaded.model,
            inputs,
            answer=greedy_answer(loaded.model, inputs, 8).tolist(),
            over_others=partial(inputs_over, model, sample, inputs, partners[sample.id]),
        )
        for name in NAMES:
            items[name][sample.id] = measured(name, run)
    return {name: {found.name: found for found in PROBES[name]().combine(some)} for name, some in items.items()}


def series(findings: dict[str, Any], probe: str, name: str) -> LayerSeries:
    found = findings[probe][name]
    assert isinstance(found, LayerSeries)
    return found


def test_the_question_reaches_the_last_token_early_and_the_image_does_not_take_a_way_late(
    findings: dict[str, Any],
) -> None:
    question, image = (series(findings, "knockout", f"{pair}_percent") for pair in ("question_last", "image_question"))
    assert min(question.mean[:3]) < -90.0
    assert max(map(abs, question.mean[8:])) < 5.0
    assert image.mean[-1] == pytest.approx(0.0, abs=0.1)
    assert min(series(findings, "knockout", "image_last_percent").mean) < -20.0


def test_late_layers_no_longer_need_the_image(findings: dict[str, Any]) -> None:
    divergence = series(findings, "drop_from", "divergence").mean
    assert divergence[0] > 1.0
    assert divergence[-1] < 0.01
    frozen, hidden, text = (
        series(findings, "layer_contribution", name).mean for name in ("freeze_visual", "hide_visual", "freeze_text")
    )
    assert frozen[-1] == 0.0
    assert max(hidden) == max(hidden[:4])
    assert text[0] > text[-1] > 0.0


def test_information_moves_from_the_visual_tokens_to_the_last(findings: dict[str, Any]) -> None:
    visual, last = (series(findings, "patching", f"recovered_{group}").mean for group in ("visual", "last"))
    assert (visual[0], last[0]) == pytest.approx((1.0, 0.0), abs=1e-3)
    assert (visual[-1], last[-1]) == pytest.approx((0.0, 1.0), abs=1e-3)
    assert visual[8] < 0.3 < 0.7 < last[8]


def test_what_decides_between_two_images_moves_likewise(findings: dict[str, Any]) -> None:
    visual, last = (series(findings, "image_patching", f"restored_{group}").mean for group in ("visual", "last"))
    assert (visual[0], last[0], visual[-1], last[-1]) == pytest.approx((1.0, 0.0, 0.0, 1.0), abs=1e-3)
    assert visual[1] > 0.8 and visual[8] < 0.2 < 0.8 < last[8]
    odds = findings["image_patching"]["log_odds"]
    assert isinstance(odds, Bars) and odds.mean[0] > 1.0 and odds.mean[1] < -1.0


def test_few_heads_and_few_tokens_matter(findings: dict[str, Any]) -> None:
    heads = findings["heads"]["drop"]
    assert isinstance(heads, HeadMap)
    assert max(max(row) for row in heads.mean[:3]) > 0.5
    assert max(max(row) for row in heads.mean[6:]) < 0.2
    change = findings["token_ablation"]["hidden_change"]
    assert isinstance(change, Bars)
    effects = dict(zip(change.conditions, change.mean, strict=True))
    assert effects["top 10 %"] < -1.0 and effects["top 10 % by gradient"] < -0.5
    assert abs(effects["bottom 10 %"]) < 0.2
