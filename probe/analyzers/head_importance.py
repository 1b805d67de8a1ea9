"""Head importance: what it costs the answer when one query head of layer 0 is switched off.

    importance[h] = log-likelihood of the full model's answer  -  the same with head h off      nats per token

A head is off when its part of the attention's output is zero, in the prompt and in the answer. HAWK (arXiv 2604.07812)
weights heads by what benchmarks lose without them; the answer's likelihood needs no reference answers, and is finer
than the number of right ones on a few samples.

The vision tower runs once, and the decoder once for each head, on prompt and answer: H passes, of which none can be
shared, since layer 0 is the first.
"""

import torch
from transformers import PreTrainedModel

from halfv_core.families import Family
from probe.analyzers.next_token import head_logits
from probe.capture.changes import Change
from probe.capture.layer_calls import LayerCalls
from probe.capture.variants import run_variants
from probe.trials.answers import Inputs, continued


@torch.no_grad()
def head_importance(
    model: PreTrainedModel,
    inputs: Inputs,
    answer: torch.Tensor,
    *,
    family: Family | None = None,
    low_memory: bool = False,
) -> list[float]:
    """The importance of each of the H query heads of layer 0 on one prompt.

    Args:
        inputs: model inputs, batch of one, without padding.
        answer: (T,) ids of the full model's answer.
        low_memory: see `KeptStates`.

    Returns:
        H numbers, nats per token; negative if the answer becomes more likely.

    Raises:
        DataError: the prompt is padded, or the answer is empty.
        UnsupportedError: tensor parallelism has put the heads into several processes.
    """
    calls = LayerCalls.record(model, continued(inputs, answer[None, :-1]), family=family, low_memory=low_memory)
    places = torch.arange(calls.length)[-len(answer) :]  # of the tokens that predict the answer's
    everywhere = torch.ones(calls.length, dtype=torch.bool)
    heads = calls.parts.decoder.config.num_attention_heads
    states = run_variants(calls, [{0: Change(head_off=(everywhere, head))} for head in range(heads)], read=places)
    full = calls.states[-1][0, -len(answer) :]
    likelihoods = [_log_likelihood(calls, some, answer) for some in (full, *states)]
    return [likelihoods[0] - other for other in likelihoods[1:]]


def _log_likelihood(calls: LayerCalls, states: torch.Tensor, answer: torch.Tensor) -> float:
    """Mean log-probability of T tokens, nats, each predicted from one of (T, D) states."""
    scores = head_logits(calls.parts, [states]).double().log_softmax(-1)
    return float(scores.gather(1, answer.to(scores.device)[:, None]).mean())
