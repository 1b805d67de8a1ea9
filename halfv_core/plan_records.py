"""What a profile says about plans: how they were judged, what is proven, what to expect, and what the search cost."""

from typing import Literal

from halfv_core.plan import Plan
from halfv_core.records import Record


class PruningTest(Record):
    """One complete plan, tried on the calibration samples."""

    plan: Plan
    flops_ratio: float
    """As in `Expected`."""
    kv_ratio: float | None = None
    """As in `Expected`."""
    agreement: float
    """As in `CausalTest`."""
    log_likelihood_drop: float
    """As in `CausalTest`."""
    safe: bool
    """Whether its estimated retention reaches the target."""
    safe_share: float | None = None
    """Share of bootstrap resamples of the same samples in which the plan is safe."""
    held_out_agreement: float | None = None
    """Agreement on the held-out samples; null if the plan was not tried on them."""
    samples: int | None = None
    """Number of samples on which the plan was judged."""
    retention: float | None = None
    """Estimated share of the full model's score that the plan keeps (see probe.calibration.choose_plan)."""
    held_out_retention: float | None = None
    """The same on the held-out samples; null if the plan was not tried on them."""
    proven: float | None = None
    """Retention that the held-out samples prove for this plan, with `Certificate.confidence`; null if not tried."""
    latency_ratio: float | None = None
    """Predicted prefill time of the decoder without the plan divided by that with it, if a latency table was given."""
    method: str | None = None
    """The published method whose plan this is, if it is one."""
    compared_only: bool = False
    """Whether the plan only stands beside those among which the choice was made."""


class Certificate(Record):
    """What the held-out samples prove about retention, which took no part in the choice of the plan."""

    target: float
    """Retention to prove, 0..1."""
    confidence: float
    """Each statement below is false for at most 1 - confidence of the draws of held-out samples."""
    score: Literal["graded", "likelihood"]
    """`graded` against reference answers, or by the likelihood of the full model's own answers."""
    samples: int
    """Number of held-out samples."""
    noise_floor: float | None
    """Mean loss of the full model against itself under another attention kernel, 0..1; null if not measured. On these
    samples under `likelihood`, which takes it into account, else on those that plans were judged on."""
    retention: float | None
    """Retention of the profile's plan on these samples: an estimate; null without samples."""
    proven: float | None
    """Retention that they prove for the profile's plan. If they refuted the plan that was chosen, this is the target,
    as proven for `proven_plan`, which took its place. Each of the two statements holds by itself; that the samples also
    pick which of them is made can add up to three points to how often it is false."""
    proven_plan: Plan | None
    """The cheapest plan that is proven to reach the target; null if no plan is that saves anything."""
    proven_flops_ratio: float | None
    """As in `Expected`, of that plan."""
    samples_needed: int | None
    """How many samples would prove the target for the profile's plan in four of five draws, if it keeps as much as on
    these; null if none would, or if it is proven. If the plan changes nothing because no other is proven, for the one
    that was chosen before."""
    sentence: str
    """The same in words."""


class SearchEffort(Record):
    """How many plans the search looked at, and what that cost."""

    considered: int
    """Plans whose loss was predicted, or that were run without."""
    plans: int
    """Plans that were run."""
    plan_samples: int
    """Number of runs of a plan on a sample."""
    exhaustive: int
    """The same for running every plan considered on every sample."""
    passes: float | None = None
    """Forward passes of the prompt through the decoder that the calibration took, for each calibration sample; parts
    of layers and of tokens count as parts, held-out samples are included, decoding is not."""


class Expected(Record):
    """What to expect of the plan, for the average calibration prompt."""

    flops_ratio: float
    """Prefill FLOPs of the decoder without the plan divided by those with it; 2 per multiply-add, see cost.py."""
    kv_ratio: float
    """KV-cache bytes of the prompt without the plan divided by those with it."""
    visual_tokens: float
    """Mean number of visual tokens per prompt."""
    text_tokens: float
    """Mean number of text tokens per prompt."""
    agreement: float | None
    """Share of held-out samples whose greedy answer equals the full model's; null if no sample was held out."""
    log_likelihood_drop: float | None
    """On the same samples, the drop in log-likelihood of the full model's answer, nats per token."""
    held_out: int
    """Number of samples that were held out for these two values."""
