"""Family Gemma 3: SigLIP vision tower; tokens of one image see each other, and most layers use a sliding window."""

from halfv_core.families.base import Family, register

register(
    "gemma3",
    Family(
        name="Gemma 3",
        decoders=("gemma3_text",),
        visual_tokens=("image_token_id",),
    ),
)
