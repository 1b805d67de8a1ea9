"""Logit lens: what the last prompt token, and each visual token, says in the model's own vocabulary, state by state.

    p_i = softmax(W_U norm(x^i[last]))        i = 0..L; x^i: input of layer i, x^L: output of the last layer
    entropy_i = -sum over tokens w of p_i(w) ln p_i(w)

See `probe.analyzers.logit_lens`. Of visual tokens: Neo et al. (arXiv 2410.07149). Each state goes through the final
norm exactly once, so that p_L is the model's own distribution; VisiPruner's notebook takes the state before it, entry
L-1, for the normed one. Unit: probabilities, and nats. Cost: the LM head on L+1 rows, and for an example on (L+1) V
further ones: as much as 0.6 passes of LLaVA-1.5-7B, and 2.4 of Qwen2.5-VL-7B, whose vocabulary is five times as large.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from probe.analyzers.findings import AnyFinding, TokenWords, Words, layer_series
from probe.analyzers.logit_lens import SHOWN_WORDS, lens, likeliest, word_lists
from probe.analyzers.probe import PROBES, Item, Probe
from probe.capture.prompt_run import PromptRun


def distribution_entropy(log_probabilities: torch.Tensor) -> torch.Tensor:
    """Entropy of distributions (..., vocabulary) of log-probabilities, nats: (...)."""
    return -(log_probabilities.exp() * log_probabilities).sum(-1)


@PROBES.register("lens")
class Lens(Probe):
    """Words and entropy by state; of examples also a word for each visual token."""

    title = "Logit lens"
    question = "What would the model answer if it ended at each layer, and which word is each visual token closest to?"

    def measure(self, run: PromptRun, looked: Sequence[Any], *, example: bool) -> Item:
        """Entropies (L+1,); of an example also the words of the last token and of visual tokens."""
        blocks = list(lens(run.parts, run.states[:, -1]))  # (L+1, vocabulary) in all
        item = {"entropy": torch.cat([distribution_entropy(block) for block in blocks]).tolist()}
        if not example:
            return item
        return item | {"words": word_lists(run, likeliest(blocks, SHOWN_WORDS)), "visual": visual_words(run)}

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """The mean entropy, and the words of examples."""
        entropies = [item["entropy"] for item in items.values()]
        title = "Entropy of the next token by the logit lens"
        found: list[AnyFinding] = [layer_series("entropy", entropies, axis="states", title=title, unit="nats")]
        for index, (sample, item) in enumerate(items.items()):
            if "words" in item:
                found += [
                    Words(
                        name=f"words_{index}",
                        title="What the last prompt token predicts",
                        example=sample,
                        axis="states",
                        rows=item["words"],
                    ),
                    TokenWords(
                        name=f"visual_words_{index}",
                        title="The likeliest word of each visual token",
                        example=sample,
                        axis="states",
                        words=item["visual"],
                    ),
                ]
        return found


def visual_words(run: PromptRun) -> list[list[str]]:
    """L+1 rows of V words: the likeliest one of each visual token at each state."""
    visual = run.visual.to(run.states.device)
    rows = [likeliest(lens(run.parts, state[visual]), 1).ids[:, 0].tolist() for state in run.states]
    distinct = sorted({token for row in rows for token in row})
    words = dict(zip(distinct, run.words(distinct), strict=True))
    return [[words[token] for token in row] for row in rows]
