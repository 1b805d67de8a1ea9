"""Model types whose architecture the runtime cannot handle, with the reason for the error message."""

_CROSS_ATTENTION = "images enter through cross-attention, so the sequence holds no visual tokens to prune"
_FEW_QUERIES = "an image is 32 learnt queries by then, too few to be worth pruning"
_ENCODER_DECODER = "it is an encoder-decoder; plans are for decoder-only models"

UNSUPPORTED: dict[str, str] = {
    "blip-2": _FEW_QUERIES,
    "chameleon": "images are words of the vocabulary, with no token id of their own",
    "emu3": "images are words of the vocabulary, with no token id of their own",
    "florence2": _ENCODER_DECODER,
    "gemma3n": "its last layers read the caches of earlier ones, which a plan would make too short",
    "idefics": _CROSS_ATTENTION,
    "instructblip": _FEW_QUERIES,
    "instructblipvideo": _FEW_QUERIES,
    "llama4": "its layers attend in chunks of the sequence, whose borders a pruning would move",
    "mllama": _CROSS_ATTENTION,
    "paligemma": "image and question see each other in both directions, which plans do not keep up after a pruning",
    "pix2struct": _ENCODER_DECODER,
    "t5gemma2": _ENCODER_DECODER,
    "udop": _ENCODER_DECODER,
}
"""Reasons by the `config.model_type` of the checkpoint."""
