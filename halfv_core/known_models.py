"""Models with a short name: where they are, under which licence, and how many visual tokens their images have.

Licences and visual tokens were written down without the model cards at hand; the card of a checkpoint decides.
"""

from typing import NamedTuple

_APACHE, _LLAMA2, _QWEN, _GEMMA = "Apache 2.0", "Llama 2", "Qwen", "Gemma"


class KnownModel(NamedTuple):
    """A checkpoint on the hub."""

    hub_id: str
    family: str
    """The description of it in `halfv_core.families`."""
    licence: str
    visual_tokens: int
    """The most that one image has, with the checkpoint's own settings."""
    pixels: int
    """Of an image that become one visual token; larger images than all of them are scaled down."""
    by_size: bool = False
    """Whether smaller images have fewer."""


def _qwen(name: str, licence: str = _APACHE) -> KnownModel:
    version = name.split("-")[0].removeprefix("Qwen")
    pixels = 32**2 if version == "3" else 28**2
    return KnownModel(f"Qwen/{name}-Instruct", f"Qwen{version}-VL", licence, 16384, pixels, by_size=True)


def _internvl(name: str, licence: str = _APACHE) -> KnownModel:
    return KnownModel(f"OpenGVLab/{name}", "InternVL", licence, 3328, 28**2, by_size=True)


def _llava_next(name: str, licence: str) -> KnownModel:
    return KnownModel(f"llava-hf/llava-v1.6-{name}-hf", "LLaVA-NeXT", licence, 2928, 14**2, by_size=True)


def _onevision(size: str, licence: str = _APACHE) -> KnownModel:
    hub_id = f"llava-hf/llava-onevision-qwen2-{size}-ov-hf"
    return KnownModel(hub_id, "LLaVA-OneVision", licence, 7317, 14**2, by_size=True)


def _smolvlm(size: str, visual_tokens: int, pixels: int) -> KnownModel:
    hub_id = f"HuggingFaceTB/SmolVLM2-{size}-Instruct"
    return KnownModel(hub_id, "SmolVLM", _APACHE, visual_tokens, pixels, by_size=True)


KNOWN_MODELS: dict[str, KnownModel] = {
    "qwen2-vl-2b": _qwen("Qwen2-VL-2B"),
    "qwen2-vl-7b": _qwen("Qwen2-VL-7B"),
    "qwen2-vl-72b": _qwen("Qwen2-VL-72B", _QWEN),
    "qwen2.5-vl-3b": _qwen("Qwen2.5-VL-3B", "Qwen Research"),
    "qwen2.5-vl-7b": _qwen("Qwen2.5-VL-7B"),
    "qwen2.5-vl-32b": _qwen("Qwen2.5-VL-32B"),
    "qwen2.5-vl-72b": _qwen("Qwen2.5-VL-72B", _QWEN),
    "qwen3-vl-2b": _qwen("Qwen3-VL-2B"),
    "qwen3-vl-4b": _qwen("Qwen3-VL-4B"),
    "qwen3-vl-8b": _qwen("Qwen3-VL-8B"),
    "qwen3-vl-32b": _qwen("Qwen3-VL-32B"),
    "llava-1.5-7b": KnownModel("llava-hf/llava-1.5-7b-hf", "LLaVA", _LLAMA2, 576, 14**2),
    "llava-1.5-13b": KnownModel("llava-hf/llava-1.5-13b-hf", "LLaVA", _LLAMA2, 576, 14**2),
    "llava-next-mistral-7b": _llava_next("mistral-7b", _APACHE),
    "llava-next-vicuna-7b": _llava_next("vicuna-7b", _LLAMA2),
    "llava-next-vicuna-13b": _llava_next("vicuna-13b", _LLAMA2),
    "llava-onevision-0.5b": _onevision("0.5b"),
    "llava-onevision-7b": _onevision("7b"),
    "llava-onevision-72b": _onevision("72b", _QWEN),
    "internvl3-1b": _internvl("InternVL3-1B-hf"),
    "internvl3-2b": _internvl("InternVL3-2B-hf"),
    "internvl3-8b": _internvl("InternVL3-8B-hf"),
    "internvl3-14b": _internvl("InternVL3-14B-hf"),
    "internvl3-38b": _internvl("InternVL3-38B-hf"),
    "internvl3-78b": _internvl("InternVL3-78B-hf", _QWEN),
    "internvl3.5-8b": _internvl("InternVL3_5-8B-HF"),
    "mistral-small-3.1-24b": KnownModel(
        "mistralai/Mistral-Small-3.1-24B-Instruct-2503", "Mistral 3", _APACHE, 3025, 28**2, by_size=True
    ),
    "idefics3-8b": KnownModel("HuggingFaceM4/Idefics3-8B-Llama3", "Idefics3", _APACHE, 2873, 28**2, by_size=True),
    "smolvlm-256m": _smolvlm("256M-Video", 1088, 64**2),
    "smolvlm-500m": _smolvlm("500M-Video", 1088, 64**2),
    "smolvlm-2b": _smolvlm("2.2B", 1377, 42**2),
    "gemma3-4b": KnownModel("google/gemma-3-4b-it", "Gemma 3", _GEMMA, 256, 56**2),
    "gemma3-12b": KnownModel("google/gemma-3-12b-it", "Gemma 3", _GEMMA, 256, 56**2),
    "gemma3-27b": KnownModel("google/gemma-3-27b-it", "Gemma 3", _GEMMA, 256, 56**2),
}
"""Short name -> model."""
