"""Settings: the options of a calibration."""

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from halfv_core.errors import DataError, PlanError, first_fault
from halfv_core.latency import LatencyTable
from halfv_core.methods import METHODS
from halfv_core.plan import Option
from halfv_core.selectors import ThresholdSelector, make_selector

DEFAULT_RETENTION = 0.97
"""Share of the full model's score that a plan has to keep, unless another target is given."""


class Settings(BaseModel):
    """Settings of a calibration; each field is an option of `halfv-probe calibrate`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    samples: int = Field(default=100, ge=2)
    """Number of samples drawn from the data."""
    held_out: float = Field(default=0.2, ge=0.0, le=0.9)
    """Share of the samples that is held out: the plan is checked on them after it was chosen on the others."""
    seed: int = Field(default=0, ge=0)
    entropy_k: int = Field(default=50, ge=1, le=10_000)
    """Number of eigenvalues in the truncated matrix entropy."""
    kl_samples: int = Field(default=16, ge=1)
    """Number of samples whose KL curve is measured, the most expensive curve; the first ones of the draw."""
    release_curve: bool = False
    """Also compute the visual entropy as the public HalfV code does, for comparison. Slow, and affects no decision."""
    keep_ratios: tuple[Annotated[float, Field(gt=0.0, le=1.0)], ...] = (0.1, 0.25, 0.5, 0.75)
    """Keep ratios to try for the pruning at Stage II."""
    selector: str = "anchor_coverage"
    """Selector of the pruning at Stage II."""
    options: dict[str, Option] = {}
    """Options of the selector; omitted ones take the selector's defaults, which are written out in the plan."""
    top_share: float = Field(default=0.05, gt=0.0, le=1.0)
    """Share of the visual tokens that `token_sparsity` keeps in Stage III."""
    max_new_tokens: int = Field(default=32, ge=1, le=1_000_000)
    """Maximum length of the full model's answers that are compared, in tokens."""
    target_retention: float | None = Field(default=None, gt=0.0, le=1.0)
    """Share of the full model's score to keep; the cheapest plan that does so is chosen. Without any target, 0.97."""
    target_flops: float | None = Field(default=None, gt=1.0)
    """Reduction of the decoder's prefill FLOPs to reach; of the plans that do, the one that keeps most is chosen."""
    target_kv: float | None = Field(default=None, gt=1.0)
    """Reduction of the KV cache to reach, likewise."""
    target_latency: float | None = Field(default=None, gt=1.0)
    """Reduction of the decoder's prefill time to reach, as `latency_table` predicts it, likewise."""
    latency_table: LatencyTable | None = None
    """Measured prefill times of this model on this machine (see halfv_core.latency)."""
    certify: int = Field(default=200, ge=0)
    """Number of further samples, if the data have them, that are held out as well: the more, the more can be proven."""
    strict: bool = False
    """Whether the plan must be proven to reach the target retention on the held-out samples."""
    method: str | None = None
    """A published method, whose plan is taken instead of one that is searched for: with its paper's settings, or at
    `target_flops`; VisiPruner's with settings that keep `target_retention`."""
    examples: int = Field(default=6, ge=0)
    """Number of samples whose images and kept tokens go into the observations; with 0, no image leaves the data."""
    low_memory: bool = False
    """Whether to need half of the memory beside the weights, and more time: hidden states are kept elsewhere (see
    `KeptStates`). The results are the same."""
    budget: float | None = Field(default=None, gt=0.0)
    """Seconds that measuring may take; the least important work is dropped first (see probe.calibration.budget)."""

    @model_validator(mode="before")
    @classmethod
    def _write_out_options(cls, values: dict[str, Any]) -> dict[str, Any]:
        name = values.get("selector", "anchor_coverage")
        selector = make_selector(name, values.get("options", {}))
        if isinstance(selector, ThresholdSelector):
            raise PlanError(
                f"selector '{name}' decides how many tokens it keeps, and a calibration tries shares",
                expected="a selector that keeps a given share",
            )
        return values | {"options": asdict(selector)}

    @model_validator(mode="after")
    def _one_target(self) -> "Settings":
        if len([target for target in (self.target_retention, *self.cost_targets) if target is not None]) > 1:
            raise ValueError("targets for retention, FLOPs, KV cache and latency exclude each other")
        if self.target_latency is not None and self.latency_table is None:
            raise ValueError(
                "a target for latency needs a latency table; `halfv-probe bench --latency-table` makes one"
            )
        return self

    @model_validator(mode="after")
    def _method_exists(self) -> "Settings":
        if self.method is None:
            return self
        method = METHODS[self.method]  # an unknown one raises PlanError
        if self.target_retention is not None and not method.by_retention:
            raise ValueError("a method's plan is not searched for by retention; give target_flops, or no target")
        if self.target_kv is not None or self.target_latency is not None:
            raise ValueError("a method's plan is set by FLOPs; give target_flops, or no target")
        return self

    @classmethod
    def from_user(cls, **values: object) -> "Settings":
        """Validate options; None stands for the default.

        Raises:
            DataError: a value out of range, or an unknown option.
        """
        try:
            return cls.model_validate({name: value for name, value in values.items() if value is not None})
        except ValidationError as error:
            raise DataError(f"bad setting: {first_fault(error)}") from None

    @property
    def retention(self) -> float:
        """Share of the full model's score that plans have to keep."""
        return DEFAULT_RETENTION if self.target_retention is None else self.target_retention

    @property
    def cost_targets(self) -> tuple[float | None, ...]:
        """The cost ratios that may be asked for, at most one of which is."""
        return self.target_flops, self.target_kv, self.target_latency
