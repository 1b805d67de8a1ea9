"""Family Qwen2-VL: Qwen2 decoder with grouped queries and M-RoPE; images and videos have separate token ids."""

from halfv_core.families.base import Family, Tower, register

register(
    "qwen2_vl",
    Family(
        name="Qwen2-VL",
        decoders=("qwen2_vl_text",),
        visual_tokens=("image_token_id", "video_token_id"),
        tower=Tower(layers=("model.visual.blocks",), projector="model.visual.merger", packed=True),
    ),
)
