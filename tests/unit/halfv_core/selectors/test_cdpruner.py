"""CDPruner: a diverse set of tokens that are relevant to the question."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from halfv_core.errors import ModelError, PlanError
from halfv_core.selectors.cdpruner import CDPruner, conditioned_kernel
from halfv_core.selectors.clip_relevance import load_clip, relevance, text_embeddings
from halfv_core.selectors.map_dpp import map_dpp
from tests.peers import peer_cases
from tests.vision_readings import VisionPrompt, random_prompt

WORDS = ["[PAD]", "what", "is", "the", "red", "blue", "thing", "<s>", "</s>"]


@pytest.mark.parametrize("case", peer_cases("cdpruner"))
def test_the_tokens_are_the_peers(case: dict) -> None:
    relevances = relevance(case["clip_image_embeds"], case["clip_text_embeds"])  # by the whole batch, as the peer's
    for states, of_image, mask in zip(case["projected"], relevances, case["mask"], strict=True):
        chosen = map_dpp(conditioned_kernel(states, of_image), case["tokens"])
        assert chosen.sort().values.tolist() == mask.nonzero()[:, 0].tolist()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP model with random weights whose image tower has the width of the features of `random_prompt`."""
    folder = tmp_path_factory.mktemp("clip")
    words = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[PAD]"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 7), ("</s>", 8)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="[PAD]")
    tokenizer.save_pretrained(folder)
    tower = {"num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    text = tower | {"hidden_size": 6, "vocab_size": 9, "max_position_embeddings": 5, "eos_token_id": 8}
    image = tower | {"hidden_size": 5, "image_size": 8, "patch_size": 4}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=image, projection_dim=7)).save_pretrained(folder)
    return folder


def asking(prompt: VisionPrompt, *words: str) -> VisionPrompt:
    prompt.question_ids = lambda: torch.tensor([8, *map(WORDS.index, words)])  # type: ignore[attr-defined]
    return prompt


def test_relevance_is_that_of_clip(checkpoint: Path) -> None:
    prompt = asking(random_prompt(12), "the", "red", "thing")
    clip = CLIPModel.from_pretrained(checkpoint)
    with torch.no_grad():
        text = clip.get_text_features(torch.tensor([[7, 3, 4, 6, 8]])).pooler_output
        images = clip.visual_projection(clip.vision_model.post_layernorm(prompt.readings.features()))
    found = -torch.cosine_similarity(images, text)
    found = (found - found.min()) / (found.max() - found.min()) + 1e-6
    unit = torch.nn.functional.normalize(prompt.states, dim=1)
    kernel = found[:, None] * (unit @ unit.T) * found
    selector = CDPruner(clip=str(checkpoint), tokenizer=str(checkpoint))
    assert selector.reads() == {"vision"}
    assert selector.choose(prompt, 5).tolist() == map_dpp(kernel, 5).tolist()


def test_a_long_question_is_read_in_chunks(checkpoint: Path) -> None:
    clip = load_clip(str(checkpoint), torch.device("cpu"))
    assert text_embeddings(clip, "what is the red thing").shape == (2, 7)  # 7 tokens in chunks of 5
    torch.testing.assert_close(text_embeddings(clip, "what"), text_embeddings(clip, " what "))


def test_it_may_ignore_the_question() -> None:
    selector, prompt = CDPruner(relevance="none"), random_prompt(12)
    assert selector.reads() == frozenset()
    chosen = selector.choose(prompt, 5)
    assert torch.equal(chosen, map_dpp(conditioned_kernel(prompt.states, torch.ones(12)), 5))
    assert len(selector.choose(random_prompt(12, equal=True), 11).unique()) == 11


def test_equal_tokens_are_equally_relevant() -> None:
    assert torch.equal(relevance(torch.ones(3, 2), torch.ones(1, 2)), torch.ones(3))


def test_what_it_needs_is_said(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="a CLIP text tower, which the model lacks; expected clip= and tokenizer="):
        CDPruner()
    with pytest.raises(ModelError, match="a CLIP checkpoint is needed; got nowhere; expected a folder"):
        CDPruner(clip="nowhere", tokenizer="nowhere").choose(random_prompt(3), 1)
    with pytest.raises(ModelError, match="a CLIP checkpoint cannot be read"):
        CDPruner(clip=str(tmp_path), tokenizer=str(tmp_path)).choose(random_prompt(3), 1)
    prompt = asking(random_prompt(3), "what")
    prompt.readings.tower_features = torch.rand(3, 4)
    with pytest.raises(ModelError, match="not that of the model's vision tower; got width 5; expected width 4"):
        CDPruner(clip=str(checkpoint), tokenizer=str(checkpoint)).choose(prompt, 1)
