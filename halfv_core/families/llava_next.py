"""Family LLaVA-NeXT (1.6): several tiles per image, newline tokens between rows; Mistral or Llama (Vicuna) decoder."""

from halfv_core.families.base import Family, Tower, register

register(
    "llava_next",
    Family(
        name="LLaVA-NeXT",
        decoders=("mistral", "llama"),
        visual_tokens=("image_token_id",),
        tower=Tower(
            layers=("model.vision_tower.encoder.layers", "model.vision_tower.vision_model.encoder.layers"),
            projector="model.multi_modal_projector",
            tiles=True,
        ),
    ),
)
