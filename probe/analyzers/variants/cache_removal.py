"""Cache removal: whether answers need the image while they are written, or only while the prompt is read.

    kept[l]      share of samples whose answer stays the same
    change[l]    mean over the answer's tokens of log p_l - log p      nats per token

The prompt runs in full; while the answer is decoded, the keys and values of visual tokens are gone from the caches of
layers l and later (VisiPruner, arXiv 2510.17205). The answer's first token comes from the prompt, so the numbers are of
the tokens after it, each predicted from the full model's own answer before it: the answer stays the same if and only if
each of them does. Samples whose answer has one token say nothing, and are left out.

Cost: one pass of prompt and answer, and the answer's tokens L(L+1)/2 times through a layer. The original decodes anew
for each of a few l.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from probe.analyzers.findings import AnyFinding, layer_series
from probe.analyzers.next_token import head_logits
from probe.analyzers.probe import PROBES, Item, Probe
from probe.analyzers.withdrawal import gone_from_each
from probe.capture.layer_calls import LayerCalls
from probe.capture.prompt_run import PromptRun
from probe.capture.variants import run_variants
from probe.trials.answers import continued


@PROBES.register("cache_removal")
class CacheRemoval(Probe):
    """The answer's later tokens without visual keys and values, from each layer on."""

    title = "Removing the image from the KV cache"
    question = "Do answers need the image while they are written?"

    def measure(self, run: PromptRun, looked: Sequence[Any], *, example: bool) -> Item:
        """L times whether all later tokens are the same, and the mean change of their log-probability; None if none."""
        if len(run.answer) < 2:
            return None
        ids = torch.tensor([run.answer[:-1]], device=run.inputs["input_ids"].device)
        calls = LayerCalls.record(run.model, continued(run.inputs, ids), family=run.family)
        written = torch.arange(calls.length) >= len(run.visual)
        visual = torch.nn.functional.pad(run.visual, (0, ids.shape[1]))
        variants = gone_from_each(run.layers, written, visual)
        places = written.nonzero()[:, 0]
        states = run_variants(calls, variants, rows=written, read=places)  # (L, T-1, D)
        return _compared(calls, calls.states[-1][0, places.to(calls.states[-1].device)], states)

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """Both by layer; nothing if every answer has one token."""
        known = [item for item in items.values() if item is not None]
        if not known:
            return []
        what = "visual keys and values gone from the caches of the layer and later ones while decoding"
        return [
            layer_series(
                "kept", [item["same"] for item in known], axis="layers",
                title=f"Share of answers that stay the same, {what}",
            ),
            layer_series(
                "change", [item["change"] for item in known], axis="layers", unit="nats per token",
                title=f"Change of the answer's log-probability, {what}",
            ),
        ]  # fmt: skip

    def passes(self, layers: int) -> float:
        return 1.0


@torch.no_grad()
def _compared(calls: LayerCalls, full: torch.Tensor, states: torch.Tensor) -> Item:
    """Of (T-1, D) states of the full model and (L, T-1, D) of the variants, each token's likeliest successor."""
    reference = head_logits(calls.parts, list(full.split(1))).double().log_softmax(-1)  # (T-1, vocabulary)
    ids = reference.argmax(1, keepdim=True)
    same, changes = [], []
    for some in states:
        found = head_logits(calls.parts, list(some.split(1))).double().log_softmax(-1)
        same.append(bool((found.argmax(1, keepdim=True) == ids).all()))
        changes.append(float((found - reference).gather(1, ids).mean()))
    return {"same": same, "change": changes}
