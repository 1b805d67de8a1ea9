"""A tiny random model of any model class, from its own config class with small numbers instead of the defaults."""

from typing import Any

import torch
from transformers import AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tests.tiny import IMAGE, VIDEO, prepared
from tests.tiny_classes import CLASSES, SMALL_TEXT

SMALL_TOWER: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_heads": 2, "num_hidden_layers": 2,
    "depth": 2, "patch_size": 8, "image_size": 64, "initializer_range": 0.2, "out_hidden_size": 32, "head_dim": 8,
    "num_key_value_heads": 2, "spatial_merge_size": 2, "encoder_layers": 1, "encoder_attention_heads": 2,
    "encoder_ffn_dim": 16, "d_model": 16, "output_dim": 32, "num_mel_bins": 8, "downsample_hidden_size": 8,
}  # fmt: skip
"""Likewise of everything else that a model is made of."""

SMALL_TOP: dict[str, Any] = {
    "image_token_id": IMAGE, "image_token_index": IMAGE, "video_token_id": VIDEO, "video_token_index": VIDEO,
    "tie_word_embeddings": False, "initializer_range": 0.2, "projector_hidden_size": 16, "projection_hidden_size": 16,
    "projection_dim": 32, "alignment_intermediate_size": 16,
}  # fmt: skip


def small(config: PreTrainedConfig, sizes: dict[str, Any]) -> dict[str, Any]:
    """Those of the sizes that a config has a field for."""
    return {name: value for name, value in sizes.items() if name in dir(config) or name in vars(config)}


def any_config(model_type: str, **given: dict[str, Any] | Any) -> PreTrainedConfig:
    """A model's config with small numbers.

    Args:
        model_type: of the model.
        given: fields that have other values; of a part, such as `vision_config`, a dict with those of its fields, and
            its `model_type`, where classes take different ones.
    """
    default = CONFIG_MAPPING[model_type]()
    fields: dict[str, Any] = small(default, SMALL_TOP) | given
    for name in default.sub_configs:
        own, part = fields.get(name, {}), getattr(default, name, None)
        if isinstance(own, PreTrainedConfig) or (part is None and not own):
            continue
        if "model_type" in own or part is None:
            part = CONFIG_MAPPING[own["model_type"]]()
        sizes = small(part, SMALL_TEXT if name == "text_config" else SMALL_TOWER)
        fields[name] = {"model_type": part.model_type} | sizes | own
    return CONFIG_MAPPING[model_type](**fields)


def any_model(model_type: str, seed: int = 0) -> PreTrainedModel:
    """A tiny random model of a class of `CLASSES`, in eval mode, greedy, never stopping early."""
    torch.manual_seed(seed)
    config = any_config(model_type, **CLASSES[model_type].given)
    model = prepared(AutoModelForImageTextToText.from_config(config))
    for parameter in model.parameters():
        if not parameter.any() and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)  # which a checkpoint fills
    with torch.no_grad():
        model.get_output_embeddings().weight[[IMAGE, VIDEO]] = 0.0  # never the likeliest token
    return model


def any_prompt(model_type: str, images: int = 1, seed: int = 0) -> dict[str, torch.Tensor]:
    """Model inputs of one prompt: text, images, text."""
    known, generator = CLASSES[model_type], torch.Generator().manual_seed(seed)
    ids = torch.randint(2, 54, (4,), generator=generator).tolist()
    for _ in range(images):
        ids += known.around[0] + known.image + known.around[1]
    ids += torch.randint(2, 54, (6,), generator=generator).tolist()
    inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
    inputs |= {name: torch.isin(inputs["input_ids"], torch.tensor(known.image)).int() for name in known.kinds}
    return inputs | known.pixels(images, generator)
