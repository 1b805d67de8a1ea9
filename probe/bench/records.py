"""The record of a benchmark: measured and analytic values, with everything that is needed to run it again."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Literal

from pydantic import JsonValue, ValidationError

from halfv_core.errors import DataError, first_fault
from halfv_core.files import read_text, write_atomically
from halfv_core.plan import Plan
from halfv_core.records import Record

CONVENTIONS = {
    "visual": "visual tokens alone, as in the paper",
    "decoder": "decoder layers, all tokens",
    "model": "whole model, with vision tower, projector and LM head",
}
"""Which FLOPs a ratio compares. All are prefill FLOPs, 2 per multiply-add, with attention counted without masking."""


class Spread(Record):
    """One quantity over the rounds."""

    median: float
    lowest: float
    highest: float
    values: tuple[float, ...]
    """The value of each round."""

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarise one or more values."""
        return cls(median=median(values), lowest=min(values), highest=max(values), values=tuple(values))

    @property
    def upper_quartile(self) -> float:
        """The value below which three quarters of the rounds lie."""
        return quantiles(self.values, n=4, method="inclusive")[2] if len(self.values) > 1 else self.median


class Measured(Record):
    """Measurements of the model, with or without the plan."""

    vision_seconds: Spread
    """Time in vision tower and projector, which no plan affects."""
    prefill_seconds: Spread
    """Time of the decoder's forward pass over the prompt."""
    first_token_seconds: Spread
    """Time to the first token: vision tower, projector, decoder and LM head."""
    decode_seconds: Spread
    """Time per later token; the median token of each round."""
    peak_bytes: Spread | None
    """Peak memory during a request, above that of the idle model; null where the system does not report it."""
    kv_bytes: int
    """Bytes of the KV cache after the last token."""
    executed_flops: int
    """FLOPs of the decoder's prefill, counted while it ran; with a plan, including those of the selection."""


class Ratios(Record):
    """Values without the plan divided by those with it, within each round; 2 means twice as fast."""

    prefill: Spread
    first_token: Spread
    decode: Spread
    peak: Spread | None


class Analytic(Record):
    """Analytic cost (halfv_core.cost); FLOPs are those of the prefill unless noted, see `CONVENTIONS`."""

    visual_flops_ratio: float
    decoder_flops_ratio: float
    model_flops_ratio: float
    decode_flops_ratio: float
    """Ratio of the decoder's FLOPs for the tokens after the prompt."""
    decoder_flops: int
    decoder_flops_full: int
    outside_flops: int
    """FLOPs of vision tower, projector, and LM head for one token per row, counted while they ran."""
    kv_bytes: int
    kv_bytes_full: int


class Goal(Record):
    """A goal that the project sets for its runtime, and whether this run meets it."""

    name: str
    measured: str
    wanted: str
    met: bool


class Subject(Record):
    """What was benchmarked."""

    model: str
    """Name of the model, as the user gave it."""
    model_type: str
    random_weights: bool
    parameters: int
    layers: int
    whole_layers: int
    """Number of decoder layers of the complete model; more than `layers` if only a slice ran."""
    vision_layers: int
    whole_vision_layers: int
    dtype: str
    kernel: str
    plan: Plan
    visual_tokens: int
    """Visual tokens per row of the batch."""
    text_tokens: int
    batch: int
    new_tokens: int
    """Number of tokens fed after the prompt."""
    rounds: int
    clock: Literal["wall", "cpu"]
    """Which seconds were measured: elapsed time, or CPU time of the process over all its threads."""


class Machine(Record):
    """The machine that the benchmark ran on."""

    processor: str
    cores: int
    threads: int
    accelerator: str | None


class Benchmark(Record):
    """The result of `halfv-probe bench`."""

    schema_version: Literal[1] = 1
    subject: Subject
    full: Measured
    accelerated: Measured
    ratios: Ratios
    selection_seconds: Spread
    """Time for choosing and dropping tokens, measured in separate prefills."""
    selection_share: Spread
    """That time as a share of the decoder's prefill in the same run."""
    analytic: Analytic
    prefill_share: float
    """Median prefill ratio divided by the decoder's FLOPs ratio: the share of the analytic speed-up achieved."""
    goals: tuple[Goal, ...]
    machine: Machine
    versions: dict[str, str]
    arguments: dict[str, JsonValue]
    """As the user typed them."""
    created: str
    """ISO 8601, UTC."""
    seconds: float
    """Wall-clock time of the benchmark, without loading the model."""

    def save(self, path: str | Path) -> None:
        """Write as JSON, atomically."""
        write_atomically(Path(path), self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Benchmark":
        """Read and validate a saved benchmark.

        Raises:
            DataError: the file is missing, or is not a benchmark.
        """
        try:
            return cls.model_validate(json.loads(read_text(Path(path))))
        except (OSError, ValueError, RecursionError) as error:
            reason = first_fault(error) if isinstance(error, ValidationError) else error
            raise DataError(f"cannot read benchmark {path} ({reason})") from None
