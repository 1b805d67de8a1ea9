"""The plans at the detected stages, with which every search begins: HalfV as its paper describes it.

Tokens are pruned where Stage II begins, to each keep ratio or not at all, and a treatment of Stage III, or none, starts
there or halfway from there to the end.
"""

from collections.abc import Sequence

from halfv_core.records import CausalTreatment, SaturationType, Stages
from probe.calibration.search.candidate import Candidate, Form

TREATMENTS: dict[SaturationType, tuple[CausalTreatment, ...]] = {
    "layer_inactivity": ("freeze",),
    "token_sparsity": ("few",),
    "none": (),
}


def stage_candidates(
    stages: Stages, form: Form, keep_ratios: Sequence[float], only: SaturationType | None = None
) -> list[Candidate]:
    """The candidates, the boldest pruning first.

    Args:
        keep_ratios: shares to keep where Stage II begins.
        only: the saturation type whose treatment is taken, from the start of Stage III on, in the place of all.
    """
    start = stages.saturation_start
    treatments: list[tuple[CausalTreatment, int] | None] = []
    if start is not None and only is not None:
        treatments = [(name, start) for name in TREATMENTS[only]]
    elif start is not None:
        starts = sorted({start, (start + form.layers) // 2})
        treatments = [None, *((name, layer) for layer in starts for name in ("freeze", "few"))]
    pruned_at = max(stages.aggregation_start, form.first)
    prunings = [((pruned_at, ratio),) for ratio in sorted(set(keep_ratios) - {1.0})]
    candidates = [Candidate(keeps, treatment) for keeps in (*prunings, ()) for treatment in treatments or [None]]
    return [candidate for candidate in candidates if candidate.is_valid(form) and candidate != Candidate()]
