"""Profile: what calibration learnt about one model, as a small JSON file that the runtime and the report read.

profile = Profile.load("profile.json")
with halfv_core.apply(model, profile): model.generate(**inputs)
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError, model_validator

from halfv_core.errors import ProfileError, first_fault
from halfv_core.plan import Plan

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

SaturationType = Literal["layer_inactivity", "token_sparsity", "none"]
SCHEMA_VERSION: Literal[1] = 1


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


class CausalTest(Record):
    """One treatment of Stage III, tried on the calibration samples against the full model's own answers."""

    treatment: Literal["layer_inactivity", "token_sparsity"]
    """The saturation type under which this treatment is safe."""
    plan: Plan
    """The intervention alone, without the pruning at Stage II."""
    agreement: float
    """Share of samples whose greedy answer equals the full model's, 0..1."""
    log_likelihood_drop: float
    """Mean over samples of the fall in the log-likelihood of the full model's answer, nats a token."""
    safe: bool
    """Whether both are within the thresholds that `Saturation` states."""


class PruningTest(Record):
    """One keep ratio for the pruning at Stage II, tried together with the treatment of Stage III."""

    plan: Plan
    """The whole plan."""
    flops_ratio: float
    """As in `Expected`."""
    agreement: float
    """As in `CausalTest`."""
    log_likelihood_drop: float
    """As in `CausalTest`."""
    safe: bool
    """Within the thresholds that `Saturation` states."""


class Saturation(Record):
    """The kind of secondary saturation redundancy, with its evidence."""

    type: SaturationType
    reason: str
    """Why, in one sentence."""
    tests: tuple[CausalTest, ...]
    min_agreement: float
    """Agreement from which on a treatment counts as safe."""
    max_log_likelihood_drop: float
    """Fall in log-likelihood, nats a token, up to which a treatment counts as safe."""


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


class Profile(Record):
    """The result of a calibration. `Profile.load(path) == profile` after `profile.save(path)`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    plan: Plan
    stages: Stages
    saturation: Saturation
    pruning_tests: tuple[PruningTest, ...] = ()
    """The whole plans that were tried, cheapest first, until one was safe."""
    curves: Curves
    expected: Expected
    provenance: Provenance

    @property
    def layers(self) -> int:
        """Number of decoder layers of the model it was made for."""
        return len(self.curves.kl.mean)

    def save(self, path: str | Path) -> None:
        """Write as JSON, atomically."""
        write_atomically(Path(path), self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Profile":
        """Read and validate.

        Raises:
            ProfileError: missing, not JSON, cut off, of another schema version, or a field that is wrong.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(f"cannot read profile {path}: {getattr(error, 'strerror', None) or error}") from None
        remedy = "make it again with `halfv-probe calibrate`"
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            place = f"line {error.lineno} column {error.colno}"
            raise ProfileError(f"profile {path} is not whole JSON ({error.msg} at {place})", remedy=remedy) from None
        version = data.get("schema_version") if isinstance(data, dict) else None
        if version != SCHEMA_VERSION:
            expected = f"a profile of schema_version {SCHEMA_VERSION}"
            raise ProfileError(
                f"{path} cannot be read", got=f"schema_version {version}", expected=expected, remedy=remedy
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ProfileError(f"profile {path} is not valid: {first_fault(error)}", remedy=remedy) from None

    def check_model(self, config: "PreTrainedConfig") -> None:
        """Refuse a model whose architecture is not the one that was calibrated.

        Raises:
            ProfileError: the fingerprints differ.
        """
        found = config_fingerprint(config)
        if found != self.provenance.config_fingerprint:
            raise ProfileError(
                "this profile was made for another model",
                got=f"{config.model_type} with config {found[:12]}",
                expected=f"{self.provenance.model_id} ({self.provenance.model_type}, config "
                f"{self.provenance.config_fingerprint[:12]})",
                remedy="run `halfv-probe calibrate` on this model, or apply `profile.plan` if you know it fits",
            )


_ARCHITECTURE = (
    "model_type",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "depth",
    "patch_size",
    "spatial_merge_size",
)


def config_fingerprint(config: "PreTrainedConfig") -> str:
    """sha256 of the shape of the decoder and the vision tower; dtype, kernel, path and versions do not enter."""
    parts = {"model_type": config.model_type}
    for name in ("text_config", "vision_config"):
        part = getattr(config, name, None)
        for field in _ARCHITECTURE:
            value = getattr(part, field, None)
            if value is not None:
                parts[f"{name}.{field}"] = value
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write a whole file or none: into a temporary neighbour, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
