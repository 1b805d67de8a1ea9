"""Family LLaVA-OneVision: SigLIP vision tower, tiles as in LLaVA-NeXT, and a Qwen2 decoder; images and videos."""

from halfv_core.families.base import Family, register

register(
    "llava_onevision",
    Family(
        name="LLaVA-OneVision",
        decoders=("qwen2",),
        visual_tokens=("image_token_id", "video_token_id"),
    ),
)
