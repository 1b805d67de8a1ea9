"""Value-output lens: what each head would write about the last prompt token, in the model's own vocabulary.

    u_h = W_O,h v_h[last]                       at layer l, head h; v_h[last]: value of the last prompt token
    p_h = softmax(W_U norm(u_h))                norm: the model's final norm
    probability   p_h(a), a: first token of the full model's greedy answer
    rank          1 + number of tokens that are likelier than a

VisiPruner (arXiv 2510.17205). Its notebook reads the KV cache after generation, so that its last token is a generated
one, and shows the last head only; here the token is the last of the prompt, and all heads are shown. u_h leaves the
attention weights out: it is what the head writes if it attends to the token itself alone. Biases belong to no head and
are left out. Where the decoder norms the attention output before it is added (Gemma 3), so is u_h. The final norm
brings every u_h to the same length, so that p_h tells the direction of what a head writes, and not how much it writes.
Unit: a probability, and log10. Cost: the LM head on L H rows, a thirtieth of a pass of LLaVA-1.5-7B.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from halfv_core.placement import device_of, parts_callable, weights_in_memory
from halfv_core.precision import is_matrix, no_autocast, widened, widened_norm
from halfv_core.runtime.prompt_view import PromptView
from probe.analyzers.findings import AnyFinding, HeadWords, head_map, significant
from probe.analyzers.logit_lens import SHOWN_WORDS, first_answer_token, lens, likeliest, word_lists
from probe.analyzers.probe import PROBES, Item, Probe
from probe.capture.prompt_run import PromptRun


def written_by_heads(layer: Any, values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What each head adds to the residual stream if its output is a given one, up to one factor for all heads.

    Args:
        layer: a decoder layer.
        values: (H, d) float32, one for each query head.
        dtype: of the layer's inputs; used where its projection is not a plain matrix.

    Returns:
        (H, D) float32, without the projection's bias.
    """
    project = layer.self_attn.o_proj
    apart = torch.block_diag(*values.split(1))  # (H, H d): in row h only head h is not zero
    with parts_callable(layer):
        if is_matrix(project):
            with weights_in_memory(project), no_autocast(values.device):
                written: torch.Tensor = apart @ widened(project.weight).T
        else:
            made = widened(project(torch.cat([apart, torch.zeros_like(apart[:1])]).to(dtype)))
            written = made[:-1] - made[-1]  # without the bias
        if hasattr(layer, "pre_feedforward_layernorm"):  # then `post_attention_layernorm` norms the attention output
            written = widened_norm(layer.post_attention_layernorm, written)
    return written


@PROBES.register("value_lens")
class ValueLens(Probe):
    """Probability and rank of the answer by head; of examples the likeliest words of each head."""

    title = "Value-output lens"
    question = "Which heads hold the answer in the value of the last prompt token, and what would the others write?"
    looks = True

    def look(self, layer: int, prompt: PromptView, run: PromptRun) -> torch.Tensor:
        """(H, D), `written_by_heads` of the last prompt token's values."""
        run.parts.check_plain("what single heads write")
        values = prompt.values(at="own")[:, prompt.question[-1]]  # (H_kv, d)
        heads = run.parts.decoder.config.num_attention_heads
        by_head = values.repeat_interleave(heads // len(values), dim=0)  # (H, d)
        return written_by_heads(run.parts.layers[layer], by_head, prompt.hidden().dtype)

    def measure(self, run: PromptRun, looked: Sequence[torch.Tensor], *, example: bool) -> Item:
        """(L, H) probabilities and log10 ranks; of an example also words."""
        answer, heads = first_answer_token(run), len(looked[0])
        device = device_of(run.parts.norm)
        own, ranks, words = [], [], []
        for block in lens(run.parts, torch.cat([written.to(device) for written in looked])):
            own.append(block[:, answer].exp())
            ranks.append(1 + (block > block[:, answer, None]).sum(-1))
            words += word_lists(run, likeliest([block], SHOWN_WORDS)) if example else []
        item = {
            "probability": significant(torch.cat(own).view(-1, heads).cpu()),
            "log_rank": significant(torch.cat(ranks).double().log10().view(-1, heads).cpu()),
        }
        return item | {"words": [words[at : at + heads] for at in range(0, len(words), heads)]} if example else item

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """Means over the samples, and the words of examples."""
        probability, log_rank = (
            np.array([item[name] for item in items.values()]) for name in ("probability", "log_rank")
        )
        found: list[AnyFinding] = [
            head_map("probability", probability, title="Probability that a head's value gives the first answer token"),
            head_map("log_rank", log_rank, title="Rank of the first answer token, mean of log10", unit="log10"),
        ]
        return found + [
            HeadWords(name=f"words_{index}", title="What each head would write", example=sample, rows=item["words"])
            for index, (sample, item) in enumerate(items.items())
            if "words" in item
        ]
