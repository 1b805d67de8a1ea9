"""Family Qwen2.5-VL: Qwen2 decoder with grouped queries and M-RoPE; images and videos have separate token ids."""

from halfv_core.families.base import Family, Tower, register

register(
    "qwen2_5_vl",
    Family(
        name="Qwen2.5-VL",
        decoders=("qwen2_5_vl_text",),
        visual_tokens=("image_token_id", "video_token_id"),
        tower=Tower(layers=("model.visual.blocks",), projector="model.visual.merger", packed=True, windows=True),
    ),
)
