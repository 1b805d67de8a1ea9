"""Conditions: of what, on what and when something was measured; without a model, so that records are read quickly."""

from pydantic import JsonValue

from halfv_core.records import Record


class Conditions(Record):
    """Of what, on what and when something was measured."""

    model_id: str
    """Name or path of the model, as the user gave it."""
    profile: str
    """Path of the profile, as the user gave it; empty for none."""
    data: str
    """Name or path of the data, as the user gave it."""
    calibrated_on: int
    """Number of samples on which the plan was chosen, as far as their ids tell; results on them are optimistic."""
    resumed: int
    """Number of samples that an earlier, interrupted run had finished."""
    data_fingerprint: str
    seed: int
    arguments_given: dict[str, JsonValue]
    """As the user typed them."""
    versions: dict[str, str]
    """Package -> version."""
    machine: str
    device: str
    dtype: str
    created: str
    """ISO 8601, UTC."""
    seconds: float
    """Wall-clock time of the last run."""
