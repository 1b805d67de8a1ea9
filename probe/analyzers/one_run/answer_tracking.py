"""Answer tracking: from which layer on the last prompt token carries the answer that the model will give.

    p_i = softmax(W_U norm(x^i[last]))        i = 0..L, the logit lens (`probe.analyzers.logit_lens`)
    probability   p_i(a), a: first token of the full model's greedy answer
    rank          1 + number of tokens that are likelier than a
    agreement     whether the likeliest token of p_i is that of p_L
    settled       the first i from which on every likeliest token is that of p_L

The probability is that of "cross-modal information flow" (arXiv 2411.18620, CVPR 2025). Ranks have a long tail, so that
log10 of the rank is averaged. Unit: a probability, log10, a share of samples, a state 0..L. Cost: the LM head on L+1
rows.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from probe.analyzers.findings import AnyFinding, SampleTable, layer_series
from probe.analyzers.logit_lens import first_answer_token, lens
from probe.analyzers.probe import PROBES, Item, Probe
from probe.capture.prompt_run import PromptRun


class Tracked(NamedTuple):
    """How one token fares in S distributions, one after the other."""

    probability: torch.Tensor
    """(S,) float32."""
    rank: torch.Tensor
    """(S,) int64, 1 for the likeliest token."""
    agreement: torch.Tensor
    """(S,) bool: whether the likeliest token is that of the last distribution."""
    settled: int
    """The first of them from which on all agree with the last."""


def track(log_probabilities: torch.Tensor, token: int) -> Tracked:
    """Follow a token through distributions (S, vocabulary) of log-probabilities."""
    own = log_probabilities[:, token]
    top = log_probabilities.argmax(-1)
    agreement = top == top[-1]
    disagreeing = (~agreement).nonzero()
    return Tracked(
        probability=own.exp(),
        rank=1 + (log_probabilities > own[:, None]).sum(-1),
        agreement=agreement,
        settled=int(disagreeing[-1]) + 1 if len(disagreeing) else 0,
    )


@PROBES.register("answer_tracking")
class AnswerTracking(Probe):
    """Probability, rank and agreement by state, and where the answer settles."""

    title = "From where on the answer is known"
    question = "From which layer on would the last prompt token already give the model's answer?"

    def measure(self, run: PromptRun, looked: Sequence[Any], *, example: bool) -> Item:
        """One number for each of the L+1 states, and the state from which on the answer is settled."""
        tracked = track(torch.cat(list(lens(run.parts, run.states[:, -1]))), first_answer_token(run))
        return {
            "probability": tracked.probability.tolist(),
            "log_rank": tracked.rank.double().log10().tolist(),
            "agreement": tracked.agreement.float().tolist(),
            "settled": tracked.settled,
        }

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """Means over the samples, and each sample's settled state."""

        def series(name: str, title: str, unit: str = "") -> AnyFinding:
            return layer_series(name, [item[name] for item in items.values()], axis="states", title=title, unit=unit)

        settled = tuple((float(item["settled"]),) for item in items.values())
        return [
            series("probability", "Probability of the first answer token by the logit lens"),
            series("agreement", "Share of samples whose likeliest token is already the final one"),
            series("log_rank", "Rank of the first answer token, mean of log10", "log10"),
            SampleTable(
                name="settled", title="State from which on the likeliest token is the final one", values=settled
            ),
        ]
