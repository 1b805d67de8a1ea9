"""The 128-word vocabulary and its tokenizer: lower-cased whole words, punctuation apart, characters as words.

As many words as the models have hidden dimensions, so that word embeddings can start orthonormal (see initialise.py).
"""

from typing import NamedTuple

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from data_samples.making.generator.content import CHARACTERS, COLORS, COLUMNS, ROWS, SHAPES
from data_samples.making.generator.phrases import plural

SIZE = 128


class Markers(NamedTuple):
    """Special tokens as a family's checkpoints name them; the first three ids, then the others in this order."""

    pad: str
    start: str
    end: str
    """Ends an answer."""
    image: str
    """Stands in the prompt once for each visual token."""
    others: tuple[str, ...]

    @property
    def special(self) -> tuple[str, ...]:
        return self.pad, self.start, self.end, *self.others


UNKNOWN = "<unk>"
QWEN = Markers(
    pad="<pad>",
    start="<|im_start|>",
    end="<|im_end|>",
    image="<|image_pad|>",
    others=("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
)
LLAMA = Markers(pad="<pad>", start="<s>", end="</s>", image="<image>", others=("<image>",))
MISTRAL = LLAMA._replace(others=("<image>", "[INST]", "[/INST]"))
ROLES = ("system", "user", "assistant")
FUNCTION_WORDS = (
    "? . , : ! yes no is are was there a an what which color colour shape the object objects image picture at how many "
    "where of to on in left right above below center describe does text say and or not nothing it this that with read"
).split()
NUMBERS = "0123456789"


def words(markers: Markers) -> list[str]:
    """Every token in id order; unused ids are named so that later words keep the size."""
    known = [*markers.special, UNKNOWN, *ROLES, *FUNCTION_WORDS, *ROWS, *COLUMNS, *COLORS, *SHAPES]
    known += [*map(plural, SHAPES), *NUMBERS, *CHARACTERS.lower()]
    known = list(dict.fromkeys(known))
    return known + [f"<extra_{k}>" for k in range(SIZE - len(known))]


def build_tokenizer(markers: Markers, chat_template: str) -> PreTrainedTokenizerFast:
    """A tokenizer that loads like any hub checkpoint's; text comes back as words joined by spaces."""
    ids = {word: number for number, word in enumerate(words(markers))}
    assert len(ids) == SIZE, f"{len(ids)} distinct words for a vocabulary of {SIZE}"
    core = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token=UNKNOWN,
        pad_token=markers.pad,
        bos_token=markers.start,
        eos_token=markers.end,
        additional_special_tokens=list(markers.others),
        chat_template=chat_template,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
