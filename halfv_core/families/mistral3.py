"""Family Mistral Small 3: Pixtral vision tower with merged patches, break tokens between rows, Mistral decoder."""

from halfv_core.families.base import Family, register

register(
    "mistral3",
    Family(
        name="Mistral 3",
        decoders=("mistral",),
        visual_tokens=("image_token_id",),
    ),
)
