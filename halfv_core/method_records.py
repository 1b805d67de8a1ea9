"""What a profile says about a published method whose plan it holds."""

from pydantic import Field

from halfv_core.plan import MAX_LAYER
from halfv_core.records import Record


class StageBegin(Record):
    """Where a stage that VisiPruner detects begins; see probe.analyzers.visipruner_stages."""

    layer: int = Field(ge=0, le=MAX_LAYER + 1)
    """Median over the samples; L, the number of layers, if it does not begin."""
    low: int
    """Lower end of its 95 % interval."""
    high: int
    share: float
    """Share of the samples in which it begins."""


class VisiPrunerSetting(Record):
    """When VisiPruner prunes, and which tokens it keeps."""

    first_layer: int = Field(ge=1, le=MAX_LAYER)
    """First layer at whose input tokens may be pruned."""
    filter_below: float
    """Threshold of the rule `contribution`: cosine below which a token matters."""
    keep_above: float
    """Threshold of the selector `visipruner`: length of a token's part in the attention output that is kept."""
    relative: bool = True
    """Whether that is a share of the output's length."""
    exit_above: float | None = None
    """Threshold of the rule `exhausted`: cosine from which on no token matters; null if what was kept stays."""


class VisiPrunerFindings(Record):
    """VisiPruner's layers and thresholds, chosen on the calibration samples, and the stages that it detects in them.

    See probe.calibration.steps.visipruner_settings.
    """

    hidden: int = Field(ge=0, le=MAX_LAYER)
    """Number of layers, from layer 1 on, in which the visual tokens rest."""
    setting: VisiPrunerSetting | None
    """Null if no setting that was tried keeps enough, so that tokens are never pruned."""
    retention: float
    """Retention by likelihood on the calibration samples, which chose these settings."""
    flops_ratio: float
    """Prefill FLOPs of the decoder without the plan divided by those with it, as measured on them."""
    noise_floor: float
    """Mean loss of the full model on them against itself under another attention kernel, 0..1."""
    middle: StageBegin
    """By the published thresholds."""
    deep: StageBegin
    """Likewise; what comes before `middle` is the shallow stage."""


class PublishedMethod(Record):
    """The published method whose plan a profile holds, and what was measured for it on the calibration samples.

    The fields are those of `halfv_core.methods.Measured`; a method leaves those empty that it does not need.
    """

    name: str
    """Name in the listing of `halfv-probe methods`."""
    samples: int = 0
    """Number of samples on which the fields below were measured."""
    withdrawal: tuple[float, ...] = ()
    """KL(full || all visual tokens leave at the input of layer l) at the last prompt token, nats, mean, L points."""
    removed: tuple[tuple[float, ...], ...] = ()
    """Share of the visual tokens that have left after each layer: a row for each schedule, the mildest first."""
    head_weights: tuple[float, ...] = ()
    """What it costs to switch one query head of layer 0 off, nats per token, at least 0; one number for each head."""
    visipruner: VisiPrunerFindings | None = None
