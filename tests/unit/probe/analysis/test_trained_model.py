"""What the probes of one run find in a bundled model, which was trained to answer questions about scenes."""

import numpy as np
import pytest

from halfv_core.models import load_model
from probe import Analysis, analyze, load_samples

PROBES = ("answer_tracking", "attention_maps", "contribution", "image_heads", "lens", "shares", "value_lens")


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    model, processor, name = load_model("tiny-qwen2.5-vl", device="cpu")
    return analyze(
        model, processor, load_samples("scenes"), probes=PROBES, count=6, examples=6, max_new_tokens=8, model_id=name
    )


def means(analysis: Analysis, probe: str, finding: str) -> np.ndarray:
    return np.array(analysis.result(probe).finding(finding).mean)


def test_the_answer_is_known_at_the_last_state_and_not_at_the_first(analysis: Analysis) -> None:
    agreement = means(analysis, "answer_tracking", "agreement")
    assert agreement[0] < 0.5 and agreement[-1] == 1.0
    assert means(analysis, "answer_tracking", "log_rank")[-1] == 0.0
    probability = means(analysis, "answer_tracking", "probability")
    assert probability[0] < 0.1 and probability[-1] > 0.8
    settled = [row[0] for row in analysis.result("answer_tracking").finding("settled").values]
    assert all(0 < state <= analysis.layers for state in settled)


def test_the_last_state_says_the_answers_first_word(analysis: Analysis) -> None:
    words = [finding for finding in analysis.result("lens").findings if finding.kind == "words"]
    assert len(words) == 6
    for finding, example in zip(words, analysis.examples, strict=True):
        assert finding.example == example.id
        assert finding.rows[-1][0][0].strip() == example.answer.split()[0]
    entropy = means(analysis, "lens", "entropy")
    assert entropy[-1] < 0.5 < entropy.max()


def test_some_visual_tokens_matter_in_the_middle_and_none_at_first(analysis: Analysis) -> None:
    lowest = means(analysis, "contribution", "min_cosine")
    assert lowest[0] > 0.999 > 0.98 > lowest[analysis.layers // 2]
    middle, _ = analysis.result("contribution").finding("stages").mean
    assert 2 <= middle <= 6


def test_heads_look_at_the_image_and_hold_the_answer(analysis: Analysis) -> None:
    count = means(analysis, "image_heads", "count")
    assert count[0] < 1.0 < 3.0 <= count[analysis.layers // 2]
    answer = means(analysis, "value_lens", "probability")
    assert answer.max() > 0.1 > answer.min()


def test_maps_sum_to_the_visual_share(analysis: Analysis) -> None:
    maps = [np.array(finding.values).sum(1) for finding in analysis.result("attention_maps").findings]
    assert np.mean(maps, axis=0) == pytest.approx(means(analysis, "shares", "share_visual"), abs=1e-3)
