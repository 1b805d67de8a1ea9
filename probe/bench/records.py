"""What a benchmark writes down, as data: measured beside analytic, with all that is needed to run it again."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Literal

from pydantic import JsonValue, ValidationError

from halfv_core.errors import DataError, first_fault
from halfv_core.plan import Plan
from halfv_core.profile import write_atomically
from halfv_core.records import Record

CONVENTIONS = {
    "visual": "visual tokens alone, as in the paper",
    "decoder": "decoder layers, all tokens",
    "model": "whole model, with vision tower, projector and LM head",
}
"""What the FLOPs are of that a ratio compares; always the prefill, 2 a multiply-add, attention over the full square."""


class Spread(Record):
    """One quantity over the rounds."""

    median: float
    lowest: float
    highest: float
    values: tuple[float, ...]
    """Round by round."""

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of one number or more."""
        return cls(median=median(values), lowest=min(values), highest=max(values), values=tuple(values))

    @property
    def upper_quartile(self) -> float:
        """Three quarters of the rounds lie below."""
        return quantiles(self.values, n=4, method="inclusive")[2] if len(self.values) > 1 else self.median


class Measured(Record):
    """The model with or without the plan."""

    vision_seconds: Spread
    """Vision tower and projector, which no plan touches."""
    prefill_seconds: Spread
    """The decoder's forward over the prompt."""
    first_token_seconds: Spread
    """Vision tower, projector, decoder and LM head."""
    decode_seconds: Spread
    """A token after the first; of each round the median token."""
    peak_bytes: Spread | None
    """Most memory in use during a request, above that of the resting model; null where the machine does not tell."""
    kv_bytes: int
    """Keys and values in the cache after the last token."""
    executed_flops: int
    """Of the decoder's prefill, counted while it ran; with the plan, selection's own are among them."""


class Ratios(Record):
    """Without the plan over with it, round by round, so that both are of the same minute; 2 reads "twice as fast"."""

    prefill: Spread
    first_token: Spread
    decode: Spread
    peak: Spread | None


class Analytic(Record):
    """The same by arithmetic (halfv_core.cost); FLOPs are those of the prefill, see `CONVENTIONS`."""

    visual_flops_ratio: float
    decoder_flops_ratio: float
    model_flops_ratio: float
    decode_flops_ratio: float
    """Of the tokens after the prompt, in the decoder."""
    decoder_flops: int
    decoder_flops_full: int
    outside_flops: int
    """Vision tower, projector, and LM head for one token a row; counted while they ran."""
    kv_bytes: int
    kv_bytes_full: int


class Goal(Record):
    """What the project wants of the runtime, and whether this run shows it."""

    name: str
    measured: str
    wanted: str
    met: bool


class Subject(Record):
    """What was run."""

    model: str
    """Name as the user gave it."""
    model_type: str
    random_weights: bool
    parameters: int
    layers: int
    whole_layers: int
    """Decoder layers of the whole model; more than `layers` where a slice ran."""
    vision_layers: int
    whole_vision_layers: int
    dtype: str
    kernel: str
    plan: Plan
    visual_tokens: int
    """In each row."""
    text_tokens: int
    batch: int
    new_tokens: int
    """Tokens fed after the prompt."""
    rounds: int
    clock: Literal["wall", "cpu"]
    """Whose seconds are written down: what a user waits, or what the process computes, over all its threads."""


class Machine(Record):
    """Where it ran."""

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
    """Choosing and dropping tokens, in prefills of their own."""
    selection_share: Spread
    """The same over the decoder's prefill of the same pass."""
    analytic: Analytic
    prefill_share: float
    """Median prefill ratio over the decoder's FLOPs ratio: how much of what arithmetic promises arrives."""
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
        """Read and validate.

        Raises:
            DataError: missing, or not a benchmark.
        """
        try:
            return cls.model_validate(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            reason = first_fault(error) if isinstance(error, ValidationError) else error
            raise DataError(f"cannot read benchmark {path} ({reason})") from None
