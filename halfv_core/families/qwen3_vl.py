"""Family Qwen3-VL: like Qwen2.5-VL, with normalised queries and keys, and vision features added after early layers."""

from halfv_core.families.base import Family, Tower, register

register(
    "qwen3_vl",
    Family(
        name="Qwen3-VL",
        decoders=("qwen3_vl_text",),
        visual_tokens=("image_token_id", "video_token_id"),
        deepstack="_deepstack_process",
        tower=Tower(layers=("model.visual.blocks",), projector="model.visual.merger", packed=True),
    ),
)
