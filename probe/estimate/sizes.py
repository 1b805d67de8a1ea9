"""ModelSizes: the sizes of a model that memory and time depend on, of a config or, for the short names, known.

Only reading a config needs torch and transformers.
"""

from dataclasses import dataclass, replace
from typing import Any

from halfv_core.cost import DecoderShape

VALUE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number, by dtype."""


@dataclass(frozen=True)
class VisionSizes:
    """Of a vision tower."""

    hidden: int
    mlp: int
    patches: int
    """Patches that make one visual token."""
    patch_values: int
    """Pixel values of a patch, all channels."""
    wide_rotary: bool = False
    """Whether queries and keys are rotated in float32, as the Qwen towers do."""


@dataclass(frozen=True)
class ModelSizes:
    """Of a model of `DecoderShape.value_bytes` bytes a number."""

    parameters: int
    decoder: DecoderShape
    vocabulary: int
    tied: bool
    """Whether embeddings and head are one matrix."""
    vision: VisionSizes

    @property
    def layer_parameters(self) -> int:
        """Of one decoder layer, without norms and biases."""
        shape = self.decoder
        return shape.hidden * (2 * shape.query_width + 2 * shape.kv_width + 3 * shape.mlp)

    @property
    def embedding_parameters(self) -> int:
        """Of the embeddings; the head has as many."""
        return self.vocabulary * self.decoder.hidden

    @property
    def other_parameters(self) -> int:
        """Of the vision tower, the projector, norms and biases."""
        heads = 1 if self.tied else 2
        return max(0, self.parameters - self.decoder.layers * self.layer_parameters - heads * self.embedding_parameters)

    def in_dtype(self, dtype: str) -> "ModelSizes":
        """The same model with other numbers."""
        return replace(self, decoder=replace(self.decoder, value_bytes=VALUE_BYTES[dtype]))


def _known(
    billions: float, layers: int, hidden: int, heads: int, kv_heads: int, head_dim: int, mlp: int, vocabulary: int,
    vision: VisionSizes, tied: bool = False,
) -> ModelSizes:  # fmt: skip
    shape = DecoderShape(layers, hidden, heads * head_dim, kv_heads * head_dim, mlp, 2)
    return ModelSizes(round(billions * 1e9), shape, vocabulary, tied, vision)


_QWEN2 = VisionSizes(1280, 5120, 4, 1176, wide_rotary=True)
_QWEN25 = VisionSizes(1280, 3420, 4, 1176, wide_rotary=True)
_QWEN3 = VisionSizes(1024, 4096, 4, 1536, wide_rotary=True)
_QWEN3_LARGE = VisionSizes(1152, 4304, 4, 1536, wide_rotary=True)
_CLIP = VisionSizes(1024, 4096, 1, 588)
_INTERN = VisionSizes(1024, 4096, 4, 588)
_INTERN_LARGE = VisionSizes(3200, 12800, 4, 588)
_SIGLIP_BASE = VisionSizes(768, 3072, 16, 768)


def _siglip(patches: int) -> VisionSizes:
    return VisionSizes(1152, 4304, patches, 588)


KNOWN: dict[str, ModelSizes] = {
    "qwen2-vl-2b": _known(2.209, 28, 1536, 12, 2, 128, 8960, 151936, _QWEN2, tied=True),
    "qwen2-vl-7b": _known(8.291, 28, 3584, 28, 4, 128, 18944, 152064, _QWEN2),
    "qwen2-vl-72b": _known(73.406, 80, 8192, 64, 8, 128, 29568, 152064, _QWEN2),
    "qwen2.5-vl-3b": _known(3.755, 36, 2048, 16, 2, 128, 11008, 151936, _QWEN25, tied=True),
    "qwen2.5-vl-7b": _known(8.292, 28, 3584, 28, 4, 128, 18944, 152064, _QWEN25),
    "qwen2.5-vl-32b": _known(33.453, 64, 5120, 40, 8, 128, 27648, 152064, _QWEN25),
    "qwen2.5-vl-72b": _known(73.411, 80, 8192, 64, 8, 128, 29568, 152064, _QWEN25),
    "qwen3-vl-2b": _known(2.128, 28, 2048, 16, 8, 128, 6144, 151936, _QWEN3, tied=True),
    "qwen3-vl-4b": _known(4.438, 36, 2560, 32, 8, 128, 9728, 151936, _QWEN3, tied=True),
    "qwen3-vl-8b": _known(8.767, 36, 4096, 32, 8, 128, 12288, 151936, _QWEN3_LARGE),
    "qwen3-vl-32b": _known(33.357, 64, 5120, 64, 8, 128, 25600, 151936, _QWEN3_LARGE),
    "llava-1.5-7b": _known(7.063, 32, 4096, 32, 32, 128, 11008, 32064, _CLIP),
    "llava-1.5-13b": _known(13.351, 40, 5120, 40, 40, 128, 13824, 32064, _CLIP),
    "llava-next-mistral-7b": _known(7.567, 32, 4096, 32, 8, 128, 14336, 32064, _CLIP),
    "llava-next-vicuna-7b": _known(7.063, 32, 4096, 32, 32, 128, 11008, 32064, _CLIP),
    "llava-next-vicuna-13b": _known(13.351, 40, 5120, 40, 40, 128, 13824, 32064, _CLIP),
    "llava-onevision-0.5b": _known(0.894, 24, 896, 14, 2, 64, 4864, 152000, _siglip(1), tied=True),
    "llava-onevision-7b": _known(8.031, 28, 3584, 28, 4, 128, 18944, 152128, _siglip(1)),
    "llava-onevision-72b": _known(73.2, 80, 8192, 64, 8, 128, 29568, 152128, _siglip(1)),
    "internvl3-1b": _known(0.939, 24, 896, 14, 2, 64, 4864, 151674, _INTERN),
    "internvl3-2b": _known(2.089, 28, 1536, 12, 2, 128, 8960, 151674, _INTERN),
    "internvl3-8b": _known(7.945, 28, 3584, 28, 4, 128, 18944, 151674, _INTERN),
    "internvl3-14b": _known(15.12, 48, 5120, 40, 8, 128, 13824, 151674, _INTERN),
    "internvl3-38b": _known(38.39, 64, 5120, 40, 8, 128, 27648, 151674, _INTERN_LARGE),
    "internvl3-78b": _known(78.41, 80, 8192, 64, 8, 128, 29568, 151674, _INTERN_LARGE),
    "internvl3.5-8b": _known(8.528, 36, 4096, 32, 8, 128, 12288, 151936, _INTERN),
    "mistral-small-3.1-24b": _known(24.011, 40, 5120, 32, 8, 128, 32768, 131072, _INTERN),
    "idefics3-8b": _known(8.463, 32, 4096, 32, 8, 128, 14336, 128259, _siglip(4)),
    "smolvlm-256m": _known(0.256, 30, 576, 9, 3, 64, 1536, 49280, _SIGLIP_BASE),
    "smolvlm-500m": _known(0.507, 32, 960, 15, 5, 64, 2560, 49280, _SIGLIP_BASE),
    "smolvlm-2b": _known(2.247, 24, 2048, 32, 32, 64, 8192, 49280, _siglip(9)),
    "gemma3-4b": _known(4.300, 34, 2560, 8, 4, 256, 10240, 262208, _siglip(16), tied=True),
    "gemma3-12b": _known(12.187, 48, 3840, 16, 8, 256, 15360, 262208, _siglip(16), tied=True),
    "gemma3-27b": _known(27.432, 62, 5376, 32, 16, 128, 21504, 262208, _siglip(16), tied=True),
}
"""Of the short names; numbers of parameters are rounded. Tests compare five of them with the configs in
probe/bench/shapes. The others were written down without their configs at hand, and are only known to be plausible."""


def sizes_of(config: Any, parameters: int, dtype: str) -> ModelSizes:
    """The sizes that a config describes.

    Args:
        config: of transformers, with a decoder and a vision tower.
        parameters: number of parameters of its model.
        dtype: in `VALUE_BYTES`.
    """
    text, vision = config.get_text_config(), config.vision_config
    name = str(config.model_type)
    hidden = getattr(vision, "embed_dim", None) or vision.hidden_size
    mlp = getattr(vision, "intermediate_size", None) or round(hidden * getattr(vision, "mlp_ratio", 4))
    patch = vision.patch_size if isinstance(vision.patch_size, int) else vision.patch_size[0]
    return ModelSizes(
        parameters,
        DecoderShape.of(text, VALUE_BYTES[dtype]),
        text.vocab_size,
        bool(getattr(config, "tie_word_embeddings", False)),
        VisionSizes(
            hidden,
            mlp,
            _patches(config, vision),
            3 * patch**2 * getattr(vision, "temporal_patch_size", 1),
            wide_rotary=name.startswith("qwen"),
        ),
    )


def _patches(config: Any, vision: Any) -> int:
    """Patches that make one visual token."""
    for holder in (vision, config):
        if hasattr(holder, "spatial_merge_size"):
            return int(holder.spatial_merge_size) ** 2
    if hasattr(config, "scale_factor"):
        return int(config.scale_factor) ** 2
    if hasattr(config, "downsample_ratio"):
        return round(float(1 / config.downsample_ratio)) ** 2
    if hasattr(config, "mm_tokens_per_image"):
        return max(1, int(vision.image_size // vision.patch_size) ** 2 // int(config.mm_tokens_per_image))
    return 1
