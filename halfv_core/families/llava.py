"""Family LLaVA-1.5: CLIP vision tower, a projector, and a Llama (Vicuna) decoder; a Qwen2 one in LLaVA-Interleave."""

from halfv_core.families.base import Family, Tower, register

register(
    "llava",
    Family(
        name="LLaVA",
        decoders=("llama", "qwen2"),
        visual_tokens=("image_token_id",),
        tower=Tower(
            layers=("model.vision_tower.encoder.layers", "model.vision_tower.vision_model.encoder.layers"),
            projector="model.multi_modal_projector",
        ),
    ),
)
