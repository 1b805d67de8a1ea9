"""Starting from a trained model instead of from random weights, also from one of another family.

What has the same name and shape is taken over. Word embeddings go by word. Where the new model shares keys and values
among more heads, theirs are the means of the heads that they stand for (grouped-query uptraining, arXiv 2305.13245).
Everything else, such as position embeddings of another picture size, starts at random.
"""

from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoTokenizer

from data_samples.making.training.learner import Learner

_EMBEDDINGS = ("embed_tokens.weight", "lm_head.weight")
_KEYS_VALUES = ("k_proj.weight", "v_proj.weight")


@torch.no_grad()
def start_from(learner: Learner, folder: Path) -> None:
    """Take over what fits of the weights of a saved model."""
    found = AutoModelForImageTextToText.from_pretrained(folder).state_dict()
    words = AutoTokenizer.from_pretrained(folder).get_vocab()
    width = learner.model.config.get_text_config().hidden_size
    heads = learner.model.config.get_text_config().num_attention_heads
    for name, own in learner.model.state_dict().items():
        other = found.get(name)
        if other is None:
            continue
        if name.endswith(_EMBEDDINGS):
            for word, row in learner.tokenizer.get_vocab().items():
                if word in words:
                    own[row] = other[words[word]]
        elif other.shape == own.shape:
            own.copy_(other)
        elif name.endswith(_KEYS_VALUES) and other.shape[1:] == own.shape[1:]:
            own.copy_(_pooled(other, len(own), width // heads))


def _pooled(states: Tensor, rows: int, head: int) -> Tensor:
    """(heads * head, D) -> (rows, D): means over neighbouring heads."""
    return states.view(rows // head, -1, head, states.shape[1]).mean(1).flatten(0, 1)
