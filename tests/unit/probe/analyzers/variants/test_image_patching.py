"""States that are exchanged between the runs of two images, against whole runs in which they are put."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from probe.analyzers.findings import Bars, LayerSeries
from probe.analyzers.variants.image_patching import OUTCOMES, TRIED, ImagePatching
from probe.capture.changes import Change
from probe.capture.layer_calls import LayerCalls
from probe.capture.prompt_run import PromptRun
from tests.separate_run import separate_scores
from tests.tiny import LAYERS, tiny_prompt
from tests.unit.probe.analyzers.variants.prompts import FAMILIES, Prompt, measured, prompt_of


def over_image(prompt: Prompt, family: str, seed: int) -> dict[str, Any]:
    """The prompt over other images, louder ones, so that a random model hears them."""
    pixels = tiny_prompt(family, images=2, seed=seed)["pixel_values"]
    return prompt.inputs | {"pixel_values": 20.0 * pixels}


def paired(family: str) -> tuple[Prompt, dict[str, Any], int]:
    """A prompt and its inputs over images to which the model answers otherwise, and how many have the same answer."""
    prompt = prompt_of(family)
    token = int(separate_scores(prompt.model, prompt.inputs, [])[0].argmax())
    for seed in range(1, 60):
        other = over_image(prompt, family, seed)
        if int(separate_scores(prompt.model, other, [])[0].argmax()) != token:
            return prompt, other, token
    raise AssertionError("no image changes the answer")


def probed(prompt: Prompt, others: list[dict[str, Any]]) -> Any:
    run = PromptRun(prompt.model, prompt.inputs, answer=prompt.run.answer, over_others=lambda: others)
    return measured("image_patching", run)


@FAMILIES
@torch.no_grad()
def test_log_odds_equal_those_of_separate_runs(family: str) -> None:
    """Features that qwen3_vl adds to visual tokens between layers follow the visual tokens."""
    prompt, other, token = paired(family)
    item = probed(prompt, [other])
    own, strange = (LayerCalls.record(prompt.model, inputs).states for inputs in (prompt.inputs, other))
    scores = [separate_scores(prompt.model, inputs, []) for inputs in (prompt.inputs, other)]
    rival = int(scores[1][0].argmax())
    # The run with the other image's visual tokens and this one's is the run with this image and the other one's text.
    text = [{layer: Change(put=(prompt.after, strange[layer][0]))} for layer in range(LAYERS + 1)]
    scores.append(separate_scores(prompt.model, prompt.inputs, text)[1:])
    for rows in (prompt.question, prompt.last):
        put = [{layer: Change(put=(rows, own[layer][0]))} for layer in range(LAYERS + 1)]
        scores.append(separate_scores(prompt.model, other, put)[1:])
    expected = torch.cat(scores)
    odds = (expected[:, token] - expected[:, rival]).tolist()
    assert item["outcome"] == 0
    found = [*item["ends"], *item["visual"], *item["question"], *item["last"]]
    assert found == pytest.approx(odds, abs=1e-4)
    assert item["ends"][0] > 0 > item["ends"][1]
    assert [item["visual"][0], item["visual"][-1]] == pytest.approx(item["ends"], abs=1e-5)
    assert [item["last"][-1], item["last"][0]] == pytest.approx(item["ends"], abs=1e-5)
    assert len({round(value, 5) for value in item["question"]}) >= LAYERS - 1


def test_images_are_tried_until_one_has_another_answer() -> None:
    prompt, other, _ = paired("llava")
    asked: list[int] = []

    def others(before: int) -> Iterator[dict[str, Any]]:
        for inputs in (*[prompt.inputs] * before, other, prompt.inputs):
            asked.append(before)
            yield inputs

    def found(before: int) -> Any:
        asked.clear()
        run = PromptRun(prompt.model, prompt.inputs, over_others=lambda: others(before))
        return measured("image_patching", run)

    direct = probed(prompt, [other])
    assert found(2) == direct and len(asked) == 3  # the images behind are not even prepared
    assert found(TRIED) == {"outcome": OUTCOMES.index("same answer")} and len(asked) == TRIED
    assert probed(prompt, []) == {"outcome": OUTCOMES.index("no other image fits")}


def test_shares_are_of_sums_over_pairs() -> None:
    items = {
        "clear": {"outcome": 0, "ends": [4.0, -4.0], "visual": [4.0, 0.0], "question": [-4.0] * 2, "last": [-4.0, 4.0]},
        "close": {"outcome": 0, "ends": [1.0, -1.0], "visual": [1.0, 1.0], "question": [-1.0] * 2, "last": [-1.0, 1.0]},
        "lone": {"outcome": 2},
    }
    found = {finding.name: finding for finding in ImagePatching().combine(items)}
    visual = found["restored_visual"]
    assert isinstance(visual, LayerSeries)
    assert visual.mean == pytest.approx((1.0, 6.0 / 10.0)) and visual.samples == 2
    assert (visual.low[1], visual.high[1]) == pytest.approx((0.5, 1.0))  # of either pair alone
    odds, pairs = found["log_odds"], found["pairs"]
    assert isinstance(odds, Bars) and isinstance(pairs, Bars)
    assert odds.mean == pytest.approx((2.5, -2.5))
    assert (pairs.conditions, pairs.samples) == (OUTCOMES, 3)
    assert pairs.mean == pytest.approx((2 / 3, 0.0, 1 / 3))


def test_without_any_pair_the_finding_says_so() -> None:
    [found] = ImagePatching().combine({"a": {"outcome": 1}, "b": {"outcome": 2}, "c": {"outcome": 2}})
    assert isinstance(found, Bars)
    assert dict(zip(found.conditions, found.mean, strict=True)) == pytest.approx(
        {"another answer": 0.0, "same answer": 1 / 3, "no other image fits": 2 / 3}
    )
