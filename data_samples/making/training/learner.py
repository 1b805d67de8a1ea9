"""The model in training, with the tokenizer and image processor it will be shipped with."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from data_samples.making.generator.drawing import SIZE
from data_samples.making.generator.questions import Question
from data_samples.making.training.config import Settings
from data_samples.making.training.families import FAMILIES, Family, image_features, spread_positions
from data_samples.making.training.initialise import initialise
from data_samples.making.training.packing import Packed, Turn, attention_mask
from data_samples.making.training.vocabulary import build_tokenizer

QUESTION = "QUESTION"


class Learner(NamedTuple):
    """A model with everything that turns pictures and questions into its inputs."""

    settings: Settings
    family: Family
    model: Any
    """A PreTrainedModel; Any, because its submodules are looked up dynamically."""
    tokenizer: PreTrainedTokenizerFast
    image_processor: Any
    prefix: list[int]
    """Token ids of a conversation up to the question, one image expanded to its tokens."""
    prefix_positions: Tensor
    """(A, P): positions of the prefix, A = 3 for three-dimensional rotary embeddings, else 1."""
    suffix: str
    """What the chat template puts between the question and the answer."""

    def turn(self, question: Question) -> Turn:
        return Turn(
            question.family,
            encode(self.tokenizer, question.text + self.suffix),
            encode(self.tokenizer, question.answer + self.family.markers.end),
        )

    def words(self, words: Sequence[str]) -> Tensor:
        """The decoder's embeddings of words as they stand in a sentence, (words, D); of several tokens, the mean."""
        table = self.model.get_input_embeddings().weight.detach().float()
        return torch.stack([table[encode(self.tokenizer, f" {word}")].mean(0) for word in words])

    def process(self, images: list[Image.Image]) -> dict[str, Tensor]:
        return dict(self.image_processor(images=images, return_tensors="pt"))

    def hidden(self, features: Tensor, packed: Packed) -> Tensor:
        """Last hidden states (B, L, D) of packed sequences, given the images' features (B, tokens, D)."""
        decoder = self.model.model.language_model
        embedded = decoder.embed_tokens(packed.ids)  # (B, L, D)
        is_image = (packed.ids == self.model.config.image_token_id)[..., None]  # (B, L, 1)
        positions = spread_positions(self.prefix_positions, packed.offsets)  # (A, B, L)
        output = decoder(
            inputs_embeds=embedded.masked_scatter(is_image, features.to(embedded.dtype)),
            attention_mask=attention_mask(packed.segments),
            position_ids=positions if len(positions) > 1 else positions[0],
            use_cache=False,
        )
        last: Tensor = output.last_hidden_state
        return last


def encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Token ids of a part of a prompt, which therefore gets no further tokens at its ends."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def conversation_frame(tokenizer: PreTrainedTokenizerFast) -> tuple[str, str]:
    """What the chat template puts before and after the text of a question about one image."""
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    messages = [{"role": "user", "content": content}]
    frame = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)  # type: ignore[arg-type]
    before, after = str(frame).split(QUESTION)
    return before, after


def build_learner(settings: Settings) -> Learner:
    """A freshly initialised model, the same for the same seed."""
    torch.manual_seed(settings.values["seed"])
    family = FAMILIES[settings.values["family"]]
    tokenizer = build_tokenizer(family.markers, settings.chat_template)
    model = family.build(settings.values, tokenizer)
    initialise(model)
    image_processor = family.image_processor(settings.values)
    before, suffix = conversation_frame(tokenizer)
    blank = dict(image_processor(images=[Image.new("RGB", (SIZE, SIZE))], return_tensors="pt"))
    with torch.no_grad():
        tokens = image_features(model, blank).shape[1]
    prefix = encode(tokenizer, before.replace(family.markers.image, family.markers.image * tokens))
    positions = family.positions(model, torch.tensor(prefix), blank)
    return Learner(settings, family, model, tokenizer, image_processor, prefix, positions, suffix)
