"""Withdrawal: how much the next-token distribution changes when all visual tokens leave at one layer.

    withdrawal[l] = KL(P_full || P_l)      nats, at the last prompt token

P_l is the next-token distribution of a run in which the visual tokens leave at the input of layer l (VTW, arXiv
2405.05803, whose code computes the reverse direction).

Nothing changes before layer l, so variant l starts from the full run's input of layer l, and has only text tokens from
there on: L(L+1)/2 layer evaluations of the text instead of L full passes.
"""

from collections.abc import Mapping
from functools import wraps
from typing import Any

import torch
from transformers import PreTrainedModel

from halfv_core.families import Family, parts_of
from halfv_core.plan import Keep, Plan
from halfv_core.runtime import apply
from halfv_core.runtime.patching import Forward, Wrap, wrapped
from probe.analyzers.next_token import divergences, layout_of_one
from probe.capture.replay import Replay


@torch.no_grad()
def withdrawal(
    model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], *, family: Family | None = None
) -> torch.Tensor:
    """The withdrawal curve of one prompt.

    Args:
        inputs: model inputs, batch of one, without padding.

    Returns:
        (L,) float64, nats.

    Raises:
        DataError: more than one prompt, a prompt without visual tokens, or logits that are NaN or infinite.
    """
    parts = parts_of(model, family)
    layout_of_one(parts, inputs, "a withdrawal")
    states: list[torch.Tensor] = []  # of each run, (1, D) at the last token after the last layer

    def recorded(forward: Forward) -> Forward:
        @wraps(forward)
        def run(hidden: torch.Tensor, **kwargs: Any) -> torch.Tensor:
            output: torch.Tensor = forward(hidden, **kwargs)
            states.append(output[:, -1])
            return output

        return run

    with wrapped([Wrap(parts.layers[-1], "forward", recorded)], plan=False):
        replay = Replay(model, inputs, family=family)
        for layer in range(len(parts.layers)):
            plan = Plan((Keep(layer=layer, keep_ratio=0.0, selector="uniform"),))
            with replay.from_layer(layer), apply(model, plan, family=family):
                model(**inputs, use_cache=True, logits_to_keep=1)
    return divergences(parts, states)
