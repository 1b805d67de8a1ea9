"""Family LLaVA-1.5: CLIP vision tower, a projector, and a Llama (Vicuna) decoder."""

from halfv_core.families.base import Family, register

register("llava", Family(name="LLaVA", decoders=("llama",), visual_tokens=("image_token_id",)))
