"""What a profile consists of: one immutable record for each thing that a calibration finds out.

`Profile` (profile.py) joins them; what it says about plans and published methods is in plan_records.py and
method_records.py. A new field needs a default or a new schema version (see CONTRIBUTING).
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from halfv_core.plan import MAX_LAYER, Plan

Layer = Annotated[int, Field(ge=0, le=MAX_LAYER)]
"""Index of a decoder layer; their number is one more than the last."""
Treatment = Literal["layer_inactivity", "token_sparsity"]
"""Treatment of Stage III, named after the saturation type for which it is safe."""
SaturationType = Literal["layer_inactivity", "token_sparsity", "none"]


class Record(BaseModel):
    """Base of everything that is written: immutable, no unknown fields, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Curve(Record):
    """One number for each layer, averaged over the calibration samples."""

    mean: tuple[float, ...]
    """Mean over samples; index i is the input of layer i (entropies, L+1 points) or layer i itself (KL, L points)."""
    std: tuple[float, ...]
    """Standard deviation over samples, same length."""

    @model_validator(mode="after")
    def _same_length(self) -> "Curve":
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} points, std has {len(self.std)}")
        return self


class Sinks(Record):
    """Massive activations among one group of tokens, by layer: L+1 points each, means over the samples.

    Before the final norm, a sink's hidden state is many times as long as that of the other tokens (Sun et al., arXiv
    2402.17762).
    """

    tokens: tuple[float, ...]
    """Number of sink tokens."""
    norm_ratio: tuple[float, ...]
    """Largest norm of a hidden state divided by the median norm."""
    entropy_without: tuple[float, ...]
    """Truncated matrix entropy of the other tokens, nats."""


class Curves(Record):
    """Everything that was measured layer by layer. L is the number of decoder layers."""

    visual: Curve
    """Truncated matrix entropy of the visual tokens, nats, L+1 points."""
    text: Curve
    """The same for the text tokens."""
    joint: Curve
    """The same for all tokens."""
    kl: Curve
    """KL(full || layer l leaves visual tokens unchanged) at the last prompt token, nats, L points."""
    spectrum: tuple[tuple[float, ...], ...]
    """Leading eigenvalues of the visual tokens, normalised to sum to 1, mean over samples: L+1 rows, descending."""
    entropy_k: int
    """Number of leading eigenvalues that the entropies use."""
    visual_release: Curve | None = None
    """`visual` as HalfV's public code computes it, if requested; no decision depends on it."""
    kl_typical: tuple[float, ...] | None = None
    """Geometric mean of the KL over its samples, nats, L points: a few samples dominate the mean. Decisions use it."""
    kl_samples: int | None = None
    """Number of samples of the KL curve; null if all samples have one."""
    visual_sinks: Sinks | None = None
    text_sinks: Sinks | None = None

    @model_validator(mode="after")
    def _same_depth(self) -> "Curves":
        layers = len(self.kl.mean)
        points: dict[str, tuple[Any, ...]] = {
            "visual": self.visual.mean,
            "text": self.text.mean,
            "joint": self.joint.mean,
            "spectrum": self.spectrum,
        }
        for group in ("visual_sinks", "text_sinks"):
            sinks: Sinks | None = getattr(self, group)
            if sinks is not None:
                points |= {f"{group}.{name}": getattr(sinks, name) for name in Sinks.model_fields}
        for name, values in points.items():
            if len(values) != layers + 1:
                raise ValueError(f"{name} has {len(values)} points, expected {layers + 1} for {layers} layers")
        if len(self.redundancy) != layers:
            raise ValueError(f"kl_typical has {len(self.redundancy)} points, expected one for each of {layers} layers")
        return self

    @property
    def redundancy(self) -> tuple[float, ...]:
        """The KL curve that decisions take: `kl_typical`, or the mean in profiles made before that was measured."""
        return self.kl.mean if self.kl_typical is None else self.kl_typical


class Stages(Record):
    """Where the stages of visual information begin: I alignment, II aggregation, III saturation."""

    aggregation_start: Layer
    """First layer of Stage II, the layer at whose input visual tokens are pruned once."""
    saturation_start: Layer | None
    """First layer of Stage III; null if the curves show no such stage."""
    evidence: dict[str, str]
    """For each boundary (`aggregation_start`, `saturation_start`), one sentence: which signal it comes from."""


class Winner(Record):
    """One answer to the question where a stage begins."""

    layer: Layer | None
    """First layer of the stage; null if there is no such stage."""
    share: float
    """Share of the resamples that gave this answer, above 0 and up to 1."""


class BoundaryUncertainty(Record):
    """Where a stage begins in the bootstrap resamples. "No such stage" (null) counts as later than any layer."""

    low: Layer | None
    """5th percentile: the first answer at which the resamples up to it are at least that share."""
    median: Layer | None
    high: Layer | None
    """95th percentile, so that `low` to `high` is the 90 % interval."""
    wins: tuple[Winner, ...]
    """All answers, ordered by layer, null last; the shares sum to 1."""


class SampleSize(Record):
    """What a calibration with fewer samples would have found."""

    samples: int
    """Number of samples in each draw."""
    same: float
    """Share of the draws that put both stages at the same layers as all samples do."""
    within_one: float
    """Share of the draws that put each stage at most one layer from there; "no such stage" is close only to
    itself."""


class Uncertainty(Record):
    """How certain the stages are, judged by resampling (see probe.calibration.uncertainty)."""

    resamples: int
    """Number of times the samples were redrawn, with replacement."""
    aggregation_start: BoundaryUncertainty
    saturation_start: BoundaryUncertainty
    sample_sizes: tuple[SampleSize, ...]
    """Ordered by number of samples, up to all of them."""
    enough: bool
    """Whether there were enough samples: half of them already give the same stages in 90 % of the draws."""
    verdict: str
    """The same in one sentence, with advice."""


class CausalTest(Record):
    """One treatment of Stage III, tried on the calibration samples against the full model's own answers."""

    treatment: Treatment
    plan: Plan
    """The treatment alone, without the pruning at Stage II."""
    agreement: float
    """Share of samples whose greedy answer equals the full model's, 0..1."""
    log_likelihood_drop: float
    """Mean over samples of the drop in the log-likelihood of the full model's answer, nats per token."""
    use_kept: float | None = None
    """Share of what the picture gives to the answers that the treatment leaves, at most 1 (see
    probe.analyzers.causal_curves); null in profiles made before this was measured."""
    safe: bool
    """Whether `use_kept` is at least `Saturation.level`."""


CausalTreatment = Literal["freeze", "few", "drop"]
"""What is done to all visual tokens from one layer on: frozen, only the most attended few kept, or all dropped."""


class CausalCurve(Record):
    """What one treatment of all later layers costs, by the layer that it begins at."""

    treatment: CausalTreatment
    loss: tuple[float, ...]
    """Mean loss of the answers, 0..1 (see probe.analyzers.causal_curves), one for each of `Causes.layers`."""
    use_kept: tuple[float, ...]
    """Share of what the picture gives that is left, at most 1, made monotone in the layer."""
    onset: Layer | None
    """First layer from which on the treatment is proven to leave `Causes.level`; null if it is at none."""
    earliest: Layer | None
    """First layer at which the treatment is not proven to leave less: the lower end of the onset's interval."""
    flops_ratio: float | None = None
    """What the treatment alone saves from its onset on, as in `Expected`."""


class Causes(Record):
    """Where visual tokens stop mattering, measured by treating all later layers (see probe.analyzers.causal_curves)."""

    verdict: Literal["measured", "too_few_samples", "picture_not_needed"]
    """Whether these samples can show it at all."""
    sentence: str
    """The verdict and what follows from it."""
    layers: tuple[Layer, ...]
    """The layers from which on the treatments were tried, ascending."""
    few: float
    """Share of the visual tokens that the treatment `few` keeps."""
    curves: tuple[CausalCurve, ...]
    control: float
    """Mean loss of the answers if no layer sees a visual token: what the picture gives, 0..1."""
    level: float
    """Share of `control` that a treatment has to leave."""
    confidence: float
    """Confidence of each onset."""
    samples: int
    by_curves: Layer | None
    """Start of Stage III as the entropy curve alone proposes it."""

    @model_validator(mode="after")
    def _same_length(self) -> "Causes":
        for curve in self.curves:
            for name, values in (("loss", curve.loss), ("use_kept", curve.use_kept)):
                if len(values) != len(self.layers):
                    raise ValueError(
                        f"{name} of {curve.treatment} has {len(values)} points for {len(self.layers)} layers"
                    )
        return self


class Saturation(Record):
    """The kind of secondary saturation redundancy (HalfV paper), with its evidence."""

    type: SaturationType
    reason: str
    """Why, in one sentence."""
    tests: tuple[CausalTest, ...]
    """The two treatments at the start of Stage III, which decide the type."""
    grid: tuple[CausalTest, ...] = ()
    """The same treatments from other layers on and with other keep ratios, to show how sharp the decision is."""
    level: float | None = None
    """Smallest `use_kept` at which a treatment is safe; null in profiles made before this was measured."""
    min_agreement: float | None = None
    """Lowest agreement at which a treatment counted as safe in profiles made before `use_kept` was measured."""
    max_log_likelihood_drop: float | None = None
    """Largest drop in log-likelihood, nats per token, likewise."""
    confidence: float | None = None
    """Share of bootstrap resamples of the tested samples that give the same type; null if nothing was tried."""


class UtilitySurface(Record):
    """Marginal utility of a single pruning, over a grid of layers and keep ratios.

    See probe.analyzers.marginal_utility.
    """

    layers: tuple[Layer, ...]
    keep_ratios: tuple[float, ...]
    saved: tuple[tuple[float, ...], ...]
    """Share of the decoder's prefill FLOPs that is saved, 0..1; a row for each layer, a column for each ratio."""
    log_likelihood_drop: tuple[tuple[float, ...], ...]
    """As in `CausalTest`."""
    agreement: tuple[tuple[float, ...], ...]
    """As in `CausalTest`."""
    utility: tuple[tuple[float, ...], ...]
    """log_likelihood_drop / (saved + 0.001); lower is better."""
    candidates: dict[str, Layer]
    """Signal -> the layer at which Stage II begins according to it."""
    samples: int


class Check(Record):
    """One self-check of a calibration (see probe.calibration.checks)."""

    name: str
    passed: bool
    found: str
    """What was compared, or what the result was."""


class Provenance(Record):
    """Where a profile comes from, so that it can be reproduced."""

    model_id: str
    """Name or path of the model as the user gave it."""
    revision: str | None = None
    """Commit of the hub's repository that it was loaded from; null if it was loaded from a folder."""
    model_type: str
    """`model_type` of the checkpoint's config."""
    admitted: str | None = None
    """The classes of the model and its decoder and the version of transformers, if they have no tests of their own and
    were proven on this model; null if they have."""
    config_fingerprint: str
    """sha256 of the architecture part of the config; see `config_fingerprint`."""
    data: str
    """Name of the calibration data as the user gave it."""
    data_columns: dict[str, str] = {}
    """Field of a sample -> column of the data that it was read from."""
    data_fingerprint: str
    """sha256 over the prompts, answers and image files of the samples used, in order."""
    rejected: int = 0
    """Number of rows of the data that could not be used."""
    rejected_first: tuple[str, ...] = ()
    """The first of these rows, with the reasons."""
    sample_ids: tuple[str, ...]
    """Samples from which the curves and tests come."""
    held_out_ids: tuple[str, ...]
    """Samples that were held out for `Expected`."""
    bytes_per_sample: int = 0
    """Memory that a calibration keeps for each sample, in bytes."""
    image_processor: dict[str, JsonValue] = {}
    """Class, backend and size limits of the image processor, which determine pixels and the number of visual tokens."""
    seed: int
    arguments_given: dict[str, JsonValue]
    """As the user typed them."""
    arguments_resolved: dict[str, JsonValue]
    """The same with all defaults filled in."""
    versions: dict[str, str]
    """Package -> version."""
    device: str
    dtype: str
    created: str
    """ISO 8601, UTC."""
    seconds: float
    """Wall-clock time of the calibration, in seconds."""
    seconds_by_step: dict[str, float] = {}
    """The same by step."""
    dropped: tuple[str, ...] = ()
    """What was left out to stay within a budget, one sentence each."""
