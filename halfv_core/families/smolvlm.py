"""Family SmolVLM2: SigLIP tiles reduced by pixel shuffle, and a Llama decoder; video frames are images."""

from halfv_core.families.base import Family, register

register(
    "smolvlm",
    Family(
        name="SmolVLM",
        decoders=("llama",),
        visual_tokens=("image_token_id",),
        decoder="model.text_model",
    ),
)
