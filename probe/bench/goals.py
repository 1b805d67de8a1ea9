"""The project's speed goals, judged on one benchmark; a missed goal is a result, not an error."""

from probe.bench.records import Analytic, Goal, Measured, Ratios, Spread

PREFILL_SHARE = 0.9
"""The prefill speed-up should reach this share of the decoder's FLOPs ratio."""
SELECTION_SHARE = 0.02
"""Selecting tokens should take at most this share of the prefill."""


def judge(
    full: Measured,
    accelerated: Measured,
    ratios: Ratios,
    selection_share: Spread,
    analytic: Analytic,
) -> tuple[Goal, ...]:
    """Judge each goal, with the measured and the wanted value in words."""
    share = ratios.prefill.median / analytic.decoder_flops_ratio
    decode, chosen = ratios.decode, selection_share.median
    same = (full.kv_bytes, accelerated.kv_bytes) == (analytic.kv_bytes_full, analytic.kv_bytes)
    return (
        Goal(
            name="prefill speed-up",
            measured=f"{share:.0%} of the FLOPs ratio (decoder)",
            wanted=f"{PREFILL_SHARE:.0%} or more",
            met=share >= PREFILL_SHARE,
        ),
        Goal(
            name="selection",
            measured=f"{chosen:.2%} of the prefill",
            wanted=f"{SELECTION_SHARE:.0%} or less",
            met=chosen <= SELECTION_SHARE,
        ),
        Goal(
            name="decode",
            measured=f"{decode.median:.2f}x ({decode.lowest:.2f} to {decode.highest:.2f})",
            wanted="never slower: 1x within the rounds' middle half, or more",
            met=decode.upper_quartile >= 1.0,
        ),
        Goal(
            name="KV cache",
            measured=f"{accelerated.kv_bytes} bytes, {full.kv_bytes} without the plan",
            wanted=f"{analytic.kv_bytes} and {analytic.kv_bytes_full}, as by arithmetic",
            met=same,
        ),
    )
