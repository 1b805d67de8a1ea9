"""Profile: what a calibration found out about one model, as a small JSON file that the runtime and the report read.

profile = Profile.load("profile.json")
with halfv_core.apply(model, profile):
    model.generate(**inputs)
"""

import hashlib
import json
import warnings
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from halfv_core.errors import HalfVError, ProfileError, first_fault
from halfv_core.files import read_text, write_atomically
from halfv_core.hub import downloaded, is_hub_name
from halfv_core.method_records import PublishedMethod
from halfv_core.plan import Plan
from halfv_core.plan_records import Certificate, Expected, PruningTest, SearchEffort
from halfv_core.records import (
    CausalTest,
    Causes,
    Check,
    Curve,
    Curves,
    Provenance,
    Record,
    Saturation,
    SaturationType,
    Stages,
    Uncertainty,
    UtilitySurface,
)

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = [
    "CausalTest",
    "Causes",
    "Certificate",
    "Check",
    "Curve",
    "Curves",
    "Expected",
    "Profile",
    "Provenance",
    "PruningTest",
    "PublishedMethod",
    "Record",
    "Saturation",
    "SaturationType",
    "SearchEffort",
    "Stages",
    "Uncertainty",
    "UtilitySurface",
    "config_fingerprint",
    "write_atomically",
]

SCHEMA_VERSION: Literal[1] = 1
FIGURES = "halfv_core.figures"
"""Entry point group of functions (profile, name) -> figure, so that a deployment does not need plotly."""


class Profile(Record):
    """The result of a calibration. `Profile.load(path) == profile` after `profile.save(path)`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    plan: Plan
    stages: Stages
    saturation: Saturation
    pruning_tests: tuple[PruningTest, ...] = ()
    """The plans that were judged, cheapest first: the frontier. `plan` is one of them, unless `method` is given."""
    curves: Curves
    expected: Expected
    provenance: Provenance
    uncertainty: Uncertainty | None = None
    """How certain the stages are; null in profiles that were made before this was measured."""
    utility: UtilitySurface | None = None
    """Marginal utility of pruning; null if it was not measured."""
    causes: Causes | None = None
    """What treatments of all later layers do to the answers; null if that was not measured."""
    certificate: Certificate | None = None
    """What is proven about the plan; null in profiles that were made before this was measured."""
    search: SearchEffort | None = None
    """What the search for the plan cost; null if there was none."""
    checks: tuple[Check, ...] = ()
    """Self-checks of the calibration."""
    cautions: tuple[str, ...] = ()
    """What to know before trusting the profile, one sentence each."""
    method: PublishedMethod | None = None
    """The published method that the plan is; null if the plan was searched for. Not written to files if null."""

    @model_serializer(mode="wrap")
    def _without_absent_method(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialize(self)
        if self.method is None:
            values.pop("method", None)
        return values

    @model_validator(mode="after")
    def _layers_exist(self) -> "Profile":
        found = {
            "stages.aggregation_start": self.stages.aggregation_start,
            "stages.saturation_start": self.stages.saturation_start,
            "plan": self.plan.last_layer,
        }
        for name, layer in found.items():
            if layer is not None and layer > self.layers:
                raise ValueError(f"{name} names layer {layer} of a decoder of {self.layers} layers")
        measured = () if self.method is None else (self.method.withdrawal, *self.method.removed)
        for curve in filter(None, measured):
            if len(curve) != self.layers:
                raise ValueError(f"method has a curve of {len(curve)} points for {self.layers} layers")
        return self

    @property
    def layers(self) -> int:
        """Number of decoder layers of the model that the profile was made for."""
        return len(self.curves.kl.mean)

    def best_at(self, flops_ratio: float) -> PruningTest | None:
        """The plan that keeps most of those that were judged and save at least this; None if none saves as much.

        Retentions are smoothed along the cost, so that equal ones cannot be told apart: then the plan that saves least
        is taken. Older profiles have `agreement` instead, where the likelihood decides between equal ones. Published
        methods that only stand beside the finalists take no part.
        """
        reaching = [test for test in self.pruning_tests if test.flops_ratio >= flops_ratio and not test.compared_only]
        return max(reaching, key=_rank, default=None)

    def save(self, path: str | Path) -> None:
        """Write the profile as JSON, atomically."""
        write_atomically(Path(path), self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Profile":
        """Read and validate a profile.

        Args:
            path: a file; or, if there is none, a repository of the Hugging Face hub, `owner/name` or
                `owner/name@revision`, as `halfv-probe publish` makes them.

        Raises:
            ProfileError: the file is missing, is not complete JSON, has another schema version, or has a bad field; or
                the hub has no such profile.
        """
        name, path = str(path), Path(path)
        if is_hub_name(name) and not path.exists():
            path = downloaded(name)
        try:
            text = read_text(path)
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(f"cannot read profile {path}: {getattr(error, 'strerror', None) or error}") from None
        remedy = "make it again with `halfv-probe calibrate`"
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            place = f"line {error.lineno} column {error.colno}"
            raise ProfileError(f"profile {path} is not whole JSON ({error.msg} at {place})", remedy=remedy) from None
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, or brackets within brackets
            raise ProfileError(f"profile {path} is not JSON of a profile ({error})", remedy=remedy) from None
        version = data.get("schema_version") if isinstance(data, dict) else None
        if version != SCHEMA_VERSION or isinstance(version, bool):
            expected = f"a profile of schema_version {SCHEMA_VERSION}"
            raise ProfileError(
                f"{path} cannot be read", got=f"schema_version {version}", expected=expected, remedy=remedy
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ProfileError(f"profile {path} is not valid: {first_fault(error)}", remedy=remedy) from None
        except HalfVError as error:  # of a plan, whose classes have errors of their own
            raise ProfileError(f"profile {path} is not valid: {error}", remedy=remedy) from None

    def figure(self, name: str) -> Any:
        """One of the report's charts as a plotly figure, for a notebook: `profile.figure("entropy")`.

        Raises:
            HalfVError: there is no such figure, this profile has no data for it, or no package that draws is installed.
        """
        for drawing in entry_points(group=FIGURES):
            try:
                draw = drawing.load()
            except ImportError:
                break
            return draw(self, name)
        raise HalfVError(
            "cannot draw figures",
            got=f"no package that draws them (entry point {FIGURES})",
            expected="halfv-probe with plotly",
            remedy="`pip install halfv-probe`",
        )

    def check_model(self, config: "PreTrainedConfig") -> None:
        """Refuse a model whose architecture differs from that of the calibrated one; warn of another revision.

        Raises:
            ProfileError: the config fingerprints differ.
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
        revision, made_on = checkpoint_revision(config), self.provenance.revision
        if None not in (revision, made_on) and revision != made_on:
            warnings.warn(
                f"this profile was made on revision {made_on} of {self.provenance.model_id}, and this model is of "
                f"revision {revision}; if its weights differ, calibrate again",
                RevisionWarning,
                stacklevel=2,
            )


class RevisionWarning(UserWarning):
    """A model is of another revision of its repository than the one that a profile was made on."""


def checkpoint_revision(config: "PreTrainedConfig") -> str | None:
    """The commit of the hub's repository that a model was loaded from; None if that is a folder, or not known.

    `load_model` records it, and transformers does in some versions.
    """
    return getattr(config, "_commit_hash", None)


def _rank(test: PruningTest) -> tuple[float, float, float]:
    if test.retention is not None:
        return test.retention, -test.flops_ratio, -test.log_likelihood_drop
    return test.agreement, -test.log_likelihood_drop, test.flops_ratio


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


def _value(config: Any, field: str) -> Any:
    """A field of a config; where layers differ, a list with that of each layer; None if there is none."""
    try:
        return getattr(config, field, None)
    except RuntimeError:  # of configs whose layers differ, where there is no value for all of them
        return [getattr(layer, field, None) for layer in config.per_layer_config]


def config_fingerprint(config: "PreTrainedConfig") -> str:
    """sha256 over the shape of the decoder and the vision tower; independent of dtype, kernel, path and versions."""
    parts = {"model_type": config.model_type}
    for name in ("text_config", "vision_config"):
        part = getattr(config, name, None)
        for field in _ARCHITECTURE:
            value = _value(part, field)
            if value is None and field == "num_hidden_layers":
                value = getattr(part, "depth", None)  # some versions of transformers give it both names
            if value is not None:
                parts[f"{name}.{field}"] = value
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
