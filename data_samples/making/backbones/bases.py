"""The pretrained parts: a DINOv2 tower and a decoder with its tokenizer, from folders or single files."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from data_samples.making.backbones.onnx_tower import read_onnx_tower
from data_samples.making.generator.drawing import SIZE
from halfv_core.errors import ModelError

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT: {% endif %}"
)
"""For a decoder that was not taught any."""


class Bases(NamedTuple):
    """A vision tower for pictures of `SIZE` pixels, and a decoder."""

    tower: Any
    """`Dinov2Model`."""
    decoder: Any
    """A model with a language modelling head."""
    tokenizer: PreTrainedTokenizerFast
    sha256: dict[str, str]
    """`vision` and `llm` -> hash of what they were read from (see `sha256_of`)."""


def load_bases(vision: Path, llm: Path, dtype: torch.dtype = torch.float32) -> Bases:
    """Read both; nothing is downloaded.

    Args:
        vision: folder of a DINOv2 checkpoint, or an ONNX file with one.
        llm: folder of a causal language model, or a GGUF file with one.

    Raises:
        ModelError: one of them is missing, or is something else.
    """
    for name, path in (("vision", vision), ("llm", llm)):
        if not path.exists():
            raise ModelError(f"--{name} does not exist", got=str(path), expected="a folder or a file")
    decoder, tokenizer = _load_decoder(llm, dtype)
    return Bases(load_tower(vision).to(dtype), decoder, tokenizer, {"vision": sha256_of(vision), "llm": sha256_of(llm)})


@torch.no_grad()
def load_tower(path: Path) -> Any:
    """A DINOv2 in float32, with position embeddings for pictures of `SIZE` pixels."""
    if path.is_dir():
        if AutoConfig.from_pretrained(path, local_files_only=True).model_type != "dinov2":
            raise ModelError("--vision is another model", got=str(path), expected="a DINOv2")
        tower: Any = AutoModel.from_pretrained(path, dtype=torch.float32, local_files_only=True)
    else:
        tower = read_onnx_tower(path)
    patches = (SIZE // tower.config.patch_size) ** 2
    blank = torch.zeros(1, patches + 1, tower.config.hidden_size)
    positions = tower.embeddings.interpolate_pos_encoding(blank, SIZE, SIZE)
    tower.embeddings.position_embeddings = nn.Parameter(positions.clone())
    tower.config.image_size = SIZE
    return tower.eval()


def _load_decoder(path: Path, dtype: torch.dtype) -> tuple[Any, PreTrainedTokenizerFast]:
    """The decoder, dequantised if it is a GGUF file, and its tokenizer with a chat template."""
    folder, options = path, {}
    if path.is_file():
        folder, options = path.parent, {"gguf_file": path.name}
    quantisation = {}
    if options and hasattr(transformers, "GgufConfig"):  # older versions always dequantise
        quantisation = {"quantization_config": transformers.GgufConfig(dequantize=True)}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, **options)
        decoder: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, **options, **quantisation
        )
    except ImportError as missing:
        raise ModelError("a GGUF file needs packages", got=missing, remedy="pip install gguf accelerate") from None
    except Exception as fault:  # readers of damaged files raise anything
        raise ModelError(f"{path} is no causal language model", got=fault) from None
    if hasattr(decoder.config, "quantization_config"):
        del decoder.config.quantization_config
    tokenizer.chat_template = tokenizer.chat_template or PLAIN_TEMPLATE
    return decoder.eval(), tokenizer


def sha256_of(path: Path) -> str:
    """Hash of a file; of a folder, of its weight files one after the other, by name."""
    files = sorted(path.glob("*.safetensors")) or sorted(path.glob("*.bin")) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
