"""Method `clse`: attention, weighted in the first of three layers by how much a token's fine detail changed."""

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import LLAVA_LAYERS, QWEN, QWEN_LAYERS, Amount, layer_at, of_576, staged
from halfv_core.plan import Keep, Plan


@METHODS.register("clse")
class CLSE(Staged):
    """Three Keeps that cut the caches of earlier layers too."""

    title = "CLSE"
    source = "ECCV 2026"
    looks_at = "attention of the last prompt token, and change of detail since the input"
    where = "layers 1, 11 and 21 of 32 (Qwen: 1, 10 and 19 of 28)"
    question_aware = True
    note = "at its setting of 192 of 576 tokens, which counts what leaves a layer (208 go in)"

    def default(self, target: Target) -> Plan:
        """330, 210 and 62 of 576 tokens."""
        qwen = target.model_type in QWEN
        layers, depth = ((1, 10, 19), QWEN_LAYERS) if qwen else ((1, 11, 21), LLAVA_LAYERS)
        shares: list[Amount] = [{"keep_ratio": share} for share in (0.57, 0.36, 0.098)]
        amounts = shares if qwen else [of_576(target, tokens) for tokens in (330, 210, 62)]
        return staged(
            Keep(
                layer=layer_at(target, layer, depth),
                **amount,
                selector="clse",
                options={"evolution": layer == layers[0]},
                cache="everywhere",
            )
            for layer, amount in zip(layers, amounts, strict=True)
        )
