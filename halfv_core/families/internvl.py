"""Family InternVL (3 and 2.5, in the layout of transformers): a Qwen2 or Llama decoder; video frames are images."""

from halfv_core.families.base import Family, register

register(
    "internvl",
    Family(
        name="InternVL",
        decoders=("qwen2", "llama"),
        visual_tokens=("image_token_id",),
    ),
)
