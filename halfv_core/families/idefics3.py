"""Family Idefics3, and the first SmolVLM: SigLIP tiles reduced by pixel shuffle, and a Llama decoder."""

from halfv_core.families.base import Family, register

register(
    "idefics3",
    Family(
        name="Idefics3",
        decoders=("llama",),
        visual_tokens=("image_token_id",),
        decoder="model.text_model",
    ),
)
