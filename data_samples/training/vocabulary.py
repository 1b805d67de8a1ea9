"""The 128-word vocabulary and its tokenizer: lower-cased whole words, punctuation apart, characters as words.

As many words as the models have hidden dimensions, so that word embeddings can start orthonormal (see initialise.py).
"""

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from data_samples.generator.content import CHARACTERS, COLORS, COLUMNS, ROWS, SHAPES
from data_samples.generator.questions import plural

SIZE = 128
PAD, START, END, UNKNOWN = "<pad>", "<|im_start|>", "<|im_end|>", "<unk>"
VISION_START, VISION_END, IMAGE, VIDEO = "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"
SPECIAL = (PAD, START, END, VISION_START, VISION_END, IMAGE, VIDEO, UNKNOWN)
ROLES = ("system", "user", "assistant")
FUNCTION_WORDS = (
    "? . , : ! yes no is are was there a an what which color colour shape the object objects image picture at how many "
    "where of to on in left right above below center describe does text say and or not nothing it this that with read"
).split()
NUMBERS = "0123456789"


def words() -> list[str]:
    """Every token in id order; unused ids are named so that later words keep the size."""
    known = [*SPECIAL, *ROLES, *FUNCTION_WORDS, *ROWS, *COLUMNS, *COLORS, *SHAPES, *map(plural, SHAPES)]
    known += [*NUMBERS, *CHARACTERS.lower()]
    known = list(dict.fromkeys(known))
    return known + [f"<extra_{k}>" for k in range(SIZE - len(known))]


def build_tokenizer(chat_template: str) -> PreTrainedTokenizerFast:
    """A tokenizer that loads like any hub checkpoint's; text comes back as words joined by spaces."""
    ids = {word: number for number, word in enumerate(words())}
    assert len(ids) == SIZE, f"{len(ids)} distinct words for a vocabulary of {SIZE}"
    core = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token=UNKNOWN,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[START, VISION_START, VISION_END, IMAGE, VIDEO],
        chat_template=chat_template,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
