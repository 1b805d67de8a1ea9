"""What a calibration needs beside the weights: the largest of what its steps need, one after the other.

With N tokens, V of them visual, of b bytes a number in a decoder of L layers of width D, query width Q, key width K,
MLP width M and vocabulary W; G = Q / K query heads share a key head; P patches of c pixel values in a tower of width
D_v. `kept(n)` are n states of N D b bytes, 0 with low memory (see `probe.capture.kept_states`):

    layer     3 N M b + 3 N D b                 the MLP's product and its two factors, residual stream and embeddings
    cache     2 L N K b
    pixels    4 P c                             in every step, as the processor made them
    vision    P c b + 5 P D_v b + 24 P D_v      rotated in float32; else P c b + 2 P M_v b + 3 P D_v b
    answer    cache + layer
    curves    kept(L) + layer,  kept(L+1) + 2 l N D b + e l N D        entropies of l layers together; e = 16, or 24
                                                                       in float64, where V or D is small
    KL        kept(L+1) + B layer,  kept(L+1) + 20 (L+1) W             B < L variants at a time; their logits
    trials    kept(L) + cache + layer + cache,  kept(L) + cache + vision        the first cache only without low memory
    floor     cache + G N^2 (2 b + 4) + 2 (Q + 2 K) N b + 4 N D b      eager attention of one key head
    float32   4 (2 D Q + 2 D K + D M) + 12 m M + 24 N D                if b = 2; m tokens enter the MLP together

The vision tower runs at the beginning of each step, before its states are there. An `eager` kernel of the model's own,
selectors and methods that look at attention maps, and `--release-curve` may need more.
"""

from typing import NamedTuple

from probe.capture.limits import MAX_BATCH_TOKENS, MLP_SLICE
from probe.estimate.sizes import ModelSizes

ENTROPY_BYTES, ENTROPY_BYTES_CPU = 2**27, 2**22
"""Bytes of float32 states whose entropies an accelerator, and a CPU, computes together; see `probe.analyzers.tme`."""
_SMALL = 400
"""Smaller Gram matrices are decomposed in float64; see `probe.analyzers.leading_eigenvalues`."""


class Peaks(NamedTuple):
    """Bytes beside the weights, by step."""

    vision: int
    answer: int
    curves: int
    kl: int
    trials: int
    floor: int
    float32: int

    @property
    def most(self) -> int:
        """What the calibration needs."""
        return max(self)

    @property
    def step(self) -> str:
        """The step that needs most."""
        return max(zip(self, self._fields, strict=True))[1]


def peaks(sizes: ModelSizes, visual: int, text: int, *, low_memory: bool = False, accelerator: bool = False) -> Peaks:
    """What each step needs for one prompt.

    Args:
        sizes: of the model; its `value_bytes` are those of the dtype.
        visual: number of visual tokens.
        text: number of other tokens, the answer's included.
        low_memory: see `probe.calibration.settings.Settings.low_memory`.
        accelerator: whether the model is on one.
    """
    shape, number = sizes.decoder, sizes.decoder.value_bytes
    tokens, numbers = visual + text, (visual + text) * shape.hidden
    state = numbers * number
    kept = 0 if low_memory else state
    layer = 3 * tokens * shape.mlp * number + 3 * state
    cache = shape.layers * shape.kv_bytes(tokens)
    pixels, vision = _vision(sizes, visual)
    at_once = max(1, (ENTROPY_BYTES if accelerator else ENTROPY_BYTES_CPU) // (4 * numbers))
    together = min(at_once, shape.layers + 1)
    entropies = together * (2 * state + (24 if min(visual, shape.hidden) < _SMALL else 16) * numbers)
    batch = max(1, min(MAX_BATCH_TOKENS // tokens, shape.layers - 1))
    kept_all = (shape.layers + 1) * kept
    scores = shape.query_width // shape.kv_width * tokens**2 * (2 * number + 4)
    widened = 4 * shape.hidden * (2 * shape.query_width + 2 * shape.kv_width + shape.mlp)
    return Peaks(
        vision=pixels + vision,
        answer=pixels + cache + layer,
        curves=pixels + max(shape.layers * kept + layer, kept_all + entropies),
        kl=pixels + kept_all + max(batch * layer, 20 * (shape.layers + 1) * sizes.vocabulary),
        trials=pixels + shape.layers * kept + (0 if low_memory else cache) + max(cache + layer, vision),
        floor=pixels + cache + scores + 2 * tokens * (shape.query_width + 2 * shape.kv_width) * number + 4 * state,
        float32=pixels + widened + 12 * min(tokens, MLP_SLICE) * shape.mlp + 24 * numbers if number == 2 else 0,
    )


def _vision(sizes: ModelSizes, visual: int) -> tuple[int, int]:
    """Bytes of the pixels in float32, and of the tower beside them."""
    tower, number = sizes.vision, sizes.decoder.value_bytes
    patches = visual * tower.patches
    cast = patches * tower.patch_values * (number if number < 4 else 0)
    if tower.wide_rotary:
        return 4 * patches * tower.patch_values, cast + patches * tower.hidden * (5 * number + 24)
    return 4 * patches * tower.patch_values, cast + patches * (2 * tower.mlp + 3 * tower.hidden) * number
