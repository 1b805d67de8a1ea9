"""Entropies and words of the logit lens, against closed forms and a token at a time."""

import math

import pytest
import torch

from halfv_core.families import parts_of
from probe.analyzers.findings import TokenWords, Words
from probe.analyzers.one_run.lens import Lens, distribution_entropy, visual_words
from probe.capture.prompt_run import PromptRun
from tests.tiny import LAYERS, tiny_model, tiny_prompt


def test_entropy_of_a_uniform_and_of_a_certain_distribution() -> None:
    certain = torch.tensor([0.0, -200.0, -200.0, -200.0])
    found = distribution_entropy(torch.stack([torch.full((4,), math.log(1 / 4)), certain]))
    assert found.tolist() == pytest.approx([math.log(4), 0.0])


@pytest.fixture(scope="module")
def run() -> PromptRun:
    """Visual tokens in two places, and a norm that changes what has been normed already."""
    model = tiny_model("qwen2_5_vl")
    torch.nn.init.uniform_(parts_of(model).norm.weight, 0.5, 2.0)
    return PromptRun(model, tiny_prompt("qwen2_5_vl", images=2))


def test_every_visual_token_gets_its_own_word(run: PromptRun) -> None:
    with torch.no_grad():
        slow = [
            [str(int(run.parts.head(run.parts.norm(state[token])).argmax())) for token in run.visual.nonzero()[:, 0]]
            for state in run.states
        ]
    assert visual_words(run) == slow
    assert len({word for row in slow for word in row}) > 5


def test_findings_hold_entropies_and_the_words_of_examples(run: PromptRun) -> None:
    with torch.no_grad():
        logits = run.model(**run.inputs).logits[0, -1].double()
    probe = Lens()
    items = {"a": probe.measure(run, [], example=False), "b": probe.measure(run, [], example=True)}
    entropy, words, visual = probe.combine(items)
    shares = logits.softmax(-1)
    assert entropy.mean[-1] == pytest.approx(float(-(shares * shares.log()).sum()), rel=1e-4)
    assert isinstance(words, Words) and isinstance(visual, TokenWords)
    assert words.example == visual.example == "b"
    assert len(words.rows) == len(visual.words) == LAYERS + 1
    assert [word for word, _ in words.rows[-1]] == [str(token) for token in logits.topk(5).indices.tolist()]
    assert words.rows[-1][0][1] == pytest.approx(float(shares.max()), rel=1e-3)
