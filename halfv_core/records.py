"""What a profile consists of: one frozen record for each thing that calibration learns; profile.py joins them.

A new field here needs a default, or a new schema version (see CONTRIBUTING).
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue, model_validator

from halfv_core.plan import Plan

Treatment = Literal["layer_inactivity", "token_sparsity"]
"""Of Stage III, by the saturation type under which it is safe."""
SaturationType = Literal["layer_inactivity", "token_sparsity", "none"]


class Record(BaseModel):
    """Base of all that is written: frozen, no unknown fields, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Curve(Record):
    """One number for each layer, over the calibration samples."""

    mean: tuple[float, ...]
    """Mean over samples; index i is the input of layer i (entropies, L+1 points) or layer i itself (KL, L points)."""
    std: tuple[float, ...]
    """Standard deviation over samples, same length."""

    @model_validator(mode="after")
    def _same_length(self) -> "Curve":
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} points, std has {len(self.std)}")
        return self


class Curves(Record):
    """All that was measured along depth. L is the number of decoder layers."""

    visual: Curve
    """Truncated matrix entropy of the visual tokens, nats, L+1 points."""
    text: Curve
    """The same of the text tokens."""
    joint: Curve
    """The same of all tokens."""
    kl: Curve
    """KL(full || layer l leaves visual tokens unchanged) at the last prompt token, nats, L points."""
    spectrum: tuple[tuple[float, ...], ...]
    """Leading eigenvalues of the visual tokens, normalised to sum 1, mean over samples: L+1 rows, descending."""
    entropy_k: int
    """Number of eigenvalues that the entropies use."""
    visual_release: Curve | None = None
    """`visual` as the public HalfV code computes it, if that was asked for; it decides nothing."""

    @model_validator(mode="after")
    def _same_depth(self) -> "Curves":
        layers = len(self.kl.mean)
        points = {
            "visual": self.visual.mean,
            "text": self.text.mean,
            "joint": self.joint.mean,
            "spectrum": self.spectrum,
        }
        for name, values in points.items():
            if len(values) != layers + 1:
                raise ValueError(f"{name} has {len(values)} points, expected {layers + 1} for {layers} layers")
        return self


class Stages(Record):
    """Where the stages of visual information begin: I alignment, II aggregation, III saturation."""

    aggregation_start: int
    """First layer of Stage II, the layer at whose input visual tokens are pruned once."""
    saturation_start: int | None
    """First layer of Stage III; null when the curves show no such turn."""
    evidence: dict[str, str]
    """For each boundary (`aggregation_start`, `saturation_start`), one sentence: which signal said so."""


class Winner(Record):
    """One answer to where a stage begins."""

    layer: int | None
    """null: there is no such stage."""
    share: float
    """Of the resamples that gave this answer, 0..1, above 0."""


class BoundaryUncertainty(Record):
    """Where a stage begins in the bootstrap resamples. "No such stage" (null) counts as later than every layer."""

    low: int | None
    """5th percentile: the first answer at which the resamples up to it are at least that share."""
    median: int | None
    high: int | None
    """95th percentile, so that `low` to `high` is the 90 % interval."""
    wins: tuple[Winner, ...]
    """All answers, by layer, null last; the shares sum to 1."""


class SampleSize(Record):
    """What fewer samples would have said."""

    samples: int
    """In each draw."""
    same: float
    """Share of the draws that put both stages where all samples put them."""
    within_one: float
    """Share of the draws that put each stage at most one layer from there; "no such stage" is near itself alone."""


class Uncertainty(Record):
    """How sure the stages are, as far as the samples can tell (see probe.calibration.uncertainty)."""

    resamples: int
    """How many times the samples were drawn anew, with replacement."""
    aggregation_start: BoundaryUncertainty
    saturation_start: BoundaryUncertainty
    sample_sizes: tuple[SampleSize, ...]
    """By number of samples, up to all."""
    enough: bool
    """Whether there were enough samples: half of them already say the same in 90 % of the draws."""
    verdict: str
    """The same in one sentence, with what to do."""


class CausalTest(Record):
    """One treatment of Stage III, tried on the calibration samples against the full model's own answers."""

    treatment: Treatment
    plan: Plan
    """The intervention alone, without the pruning at Stage II."""
    agreement: float
    """Share of samples whose greedy answer equals the full model's, 0..1."""
    log_likelihood_drop: float
    """Mean over samples of the fall in the log-likelihood of the full model's answer, nats a token."""
    safe: bool
    """Whether both are within the thresholds that `Saturation` states."""


class PruningTest(Record):
    """One whole plan, tried on the calibration samples."""

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
    """Within the thresholds that `Saturation` states."""
    safe_share: float | None = None
    """Share of bootstrap resamples of the same samples in which it is safe."""
    held_out_agreement: float | None = None
    """Agreement on the samples kept apart; null where the plan was not tried on them."""


class Saturation(Record):
    """The kind of secondary saturation redundancy, with its evidence."""

    type: SaturationType
    reason: str
    """Why, in one sentence."""
    tests: tuple[CausalTest, ...]
    """The two treatments at the start of Stage III, which decide."""
    grid: tuple[CausalTest, ...] = ()
    """The same treatments from other layers on and with other shares too: how sharp the decision is."""
    min_agreement: float
    """Agreement from which on a treatment counts as safe."""
    max_log_likelihood_drop: float
    """Fall in log-likelihood, nats a token, up to which a treatment counts as safe."""
    confidence: float | None = None
    """Share of bootstrap resamples of the tested samples that give the same type; null when nothing was tried."""


class UtilitySurface(Record):
    """Marginal utility of one pruning over a grid of layers and keep ratios (see probe.analyzers.marginal_utility)."""

    layers: tuple[int, ...]
    keep_ratios: tuple[float, ...]
    saved: tuple[tuple[float, ...], ...]
    """A row for each layer, a column for each ratio: share of the decoder's prefill FLOPs saved, 0..1."""
    log_likelihood_drop: tuple[tuple[float, ...], ...]
    """As in `CausalTest`."""
    agreement: tuple[tuple[float, ...], ...]
    """As in `CausalTest`."""
    utility: tuple[tuple[float, ...], ...]
    """log_likelihood_drop / (saved + 0.001): low is good."""
    candidates: dict[str, int]
    """Signal -> the layer at which it sees Stage II begin."""
    samples: int


class Check(Record):
    """One self-check of a calibration (see probe.calibration.checks)."""

    name: str
    passed: bool
    found: str
    """What was compared, or what came out."""


class Expected(Record):
    """What the plan promises, for the mean calibration prompt."""

    flops_ratio: float
    """Prefill FLOPs of the decoder without the plan over those with it (2 a multiply-add; see halfv_core.cost)."""
    kv_ratio: float
    """Bytes of the prompt's keys and values without the plan over those with it."""
    visual_tokens: float
    """Mean visual tokens a prompt."""
    text_tokens: float
    """Mean text tokens a prompt."""
    agreement: float | None
    """Share of held-out samples whose greedy answer equals the full model's; null when no sample was held out."""
    log_likelihood_drop: float | None
    """On the same samples, the fall in log-likelihood of the full model's answer, nats a token."""
    held_out: int
    """How many samples were held out for these two numbers."""


class Provenance(Record):
    """Where a profile comes from, so that it can be made again."""

    model_id: str
    """Name or path as the user gave it."""
    model_type: str
    """`model_type` of the checkpoint's config."""
    config_fingerprint: str
    """sha256 of the architecture part of the config; see `config_fingerprint`."""
    data: str
    """Name of the calibration data as the user gave it."""
    data_columns: dict[str, str] = {}
    """Field of a sample -> column of the data that it was read from."""
    data_fingerprint: str
    """sha256 over prompts, answers and image files of the samples used, in order."""
    rejected: int = 0
    """Rows of the data that could not be used."""
    rejected_first: tuple[str, ...] = ()
    """The first of them, with the reason."""
    sample_ids: tuple[str, ...]
    """Samples that the curves and tests come from."""
    held_out_ids: tuple[str, ...]
    """Samples kept apart for `Expected`."""
    bytes_per_sample: int = 0
    """Memory that a calibration keeps for each sample."""
    image_processor: dict[str, JsonValue] = {}
    """Class and size limits of the image processor: they decide how many visual tokens an image has."""
    seed: int
    arguments_given: dict[str, JsonValue]
    """As the user typed them."""
    arguments_resolved: dict[str, JsonValue]
    """With all defaults filled in."""
    versions: dict[str, str]
    """Package -> version."""
    device: str
    dtype: str
    created: str
    """ISO 8601, UTC."""
    seconds: float
    """Wall-clock time of the calibration."""
    seconds_by_step: dict[str, float] = {}
    """Where it went."""
    dropped: tuple[str, ...] = ()
    """What a budget left out, a sentence each."""
