"""Model types whose architecture the runtime cannot handle, with the reason for the error message."""

_CROSS_ATTENTION = "images enter through cross-attention, so the sequence holds no visual tokens to prune"
_FEW_QUERIES = "an image is a few dozen learnt queries by then, too few to be worth pruning"
_ENCODER_DECODER = "it is an encoder-decoder; plans are for decoder-only models"
_WORDS = "images are words of the vocabulary, with no token id of their own"
_INDEXED = "its layers choose the keys that each token sees by an index of all of them, which a pruning changes"
_CONVOLVED = "its attention convolves keys and values of neighbouring tokens, which are others after a pruning"

UNSUPPORTED: dict[str, str] = {
    "blip": _CROSS_ATTENTION,
    "blip-2": _FEW_QUERIES,
    "chameleon": _WORDS,
    "diffusion_gemma": "it denoises blocks of tokens instead of decoding one after the other",
    "dots3_note": _INDEXED,
    "emu3": _WORDS,
    "evolla": "it reads proteins, through cross-attention",
    "florence2": _ENCODER_DECODER,
    "gemma3n": "its last layers read the caches of earlier ones, which a plan would make too short",
    "git": "image features are put before the text, without token ids of their own",
    "glm5_next": _INDEXED,
    "granite4_vision": "features of the vision tower are added inside the decoder's loop, for all tokens of the prompt",
    "idefics": _CROSS_ATTENTION,
    "inkling2": _CONVOLVED,
    "inkling_mm_model": _CONVOLVED,
    "instructblip": _FEW_QUERIES,
    "instructblipvideo": _FEW_QUERIES,
    "kosmos-2": _FEW_QUERIES,
    "kosmos-2.5": "images are marked by a mask beside the token ids, not by ids of their own",
    "llama4": "layers without rotary scale queries by a count of cached tokens, which a pruning changes",
    "mistral4": "it is a language model without images",
    "mistral_large4": _INDEXED,
    "mllama": _CROSS_ATTENTION,
    "nemotron_h_omni": "its layers are a mixer or an MLP alone, and no module below the whole model places the images",
    "paligemma": "image and question see each other in both directions, which plans do not keep up after a pruning",
    "pi0": "it makes a robot's actions by flow matching, not text",
    "pix2struct": _ENCODER_DECODER,
    "pp_formulanet": _ENCODER_DECODER,
    "qwen4_exp": _INDEXED,
    "t5gemma2": _ENCODER_DECODER,
    "udop": _ENCODER_DECODER,
    "unlimited_ocr": "layers see the prompt and a window behind it, counted in cached tokens, which a pruning changes",
    "vision-encoder-decoder": _ENCODER_DECODER,
}
"""Reasons by the `config.model_type` of the checkpoint."""
