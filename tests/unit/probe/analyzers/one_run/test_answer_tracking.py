"""Following a token through distributions, against a table by hand."""

import pytest
import torch

from halfv_core.families import parts_of
from probe.analyzers.findings import LayerSeries, SampleTable
from probe.analyzers.one_run.answer_tracking import AnswerTracking, track
from probe.capture.prompt_run import PromptRun
from tests.tiny import LAYERS, tiny_model, tiny_prompt


def test_a_token_that_wins_for_good_at_the_third_distribution() -> None:
    shares = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3]])
    found = track(shares.log(), 1)
    torch.testing.assert_close(found.probability, shares[:, 1])
    assert found.rank.tolist() == [2, 2, 1, 1]
    assert found.agreement.tolist() == [False, False, True, True]
    assert found.settled == 2


def test_a_token_that_wins_lose_and_wins_again_settles_last() -> None:
    shares = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    assert track(shares.log(), 0).settled == 2
    assert track(shares.log()[2:], 0).settled == 0


def test_agreement_is_with_the_last_state_and_not_with_the_followed_token() -> None:
    """In 16 bits the model may choose another of two nearly equal tokens."""
    found = track(torch.tensor([[0.5, 0.3, 0.2], [0.3, 0.4, 0.3]]).log(), 0)
    assert found.agreement.tolist() == [False, True]
    assert found.rank.tolist() == [1, 2]


def test_findings_end_with_the_models_own_answer() -> None:
    model, prompt = tiny_model("gemma3"), tiny_prompt("gemma3")
    torch.nn.init.uniform_(parts_of(model).norm.weight, 0.5, 2.0)
    with torch.no_grad():
        shares = model(**prompt).logits[0, -1].softmax(-1)
    answer, other = shares.topk(2).indices.tolist()
    probe = AnswerTracking()
    items = {
        name: probe.measure(PromptRun(model, prompt, answer=[token]), [], example=False)
        for name, token in (("greedy", answer), ("other", other))
    }
    probability, agreement, log_rank, settled = probe.combine(items)
    assert isinstance(probability, LayerSeries) and isinstance(settled, SampleTable)
    assert probability.mean[-1] == pytest.approx(float(shares[[answer, other]].mean()), rel=1e-4)
    assert agreement.mean[-1] == agreement.low[-1] == 1.0
    assert log_rank.mean[-1] == pytest.approx(torch.tensor([1.0, 2.0]).log10().mean().item())
    assert len(agreement.mean) == LAYERS + 1
    assert settled.values[0] == settled.values[1]
    assert all(items["greedy"]["agreement"][int(settled.values[0][0]) :])
