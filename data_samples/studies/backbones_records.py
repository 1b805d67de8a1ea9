"""What `data_samples.studies.backbones` records of each model."""

from collections.abc import Mapping

from pydantic import JsonValue

from halfv_core.bundled import BUNDLED
from halfv_core.files import read_text
from halfv_core.profile import Profile
from halfv_core.records import CausalTreatment, Record

RECORDS = BUNDLED / "backbones"
ADAPTERS = RECORDS / "adapters"
"""A folder for each model that was trained by `data_samples.making.backbones`."""


class Estimate(Record):
    """A mean over samples, with its 90 % bootstrap interval."""

    mean: float
    low: float
    high: float


class Treated(Record):
    """Stage III's treatments alone, each from every layer on."""

    starts: tuple[int, ...]
    use_kept: dict[CausalTreatment, tuple[Estimate, ...]]
    """Share of what the picture gives to the answers that is left (see probe.analyzers.causal_curves)."""
    tried_from: int
    """Where Stage III begins, or two thirds of the depth if it begins nowhere."""
    accuracy: dict[CausalTreatment, float]
    """On the held-out scenes, treated from `tried_from` on."""


class Backbone(Record):
    """All that the study measures on one model."""

    model: str
    decoder: str
    layers: int
    recipe: dict[str, JsonValue] | None
    """How it was trained, and sha256 of its bases; null for bundled models."""
    held_out: int
    accuracy: float
    """On the held-out scenes, mean over the families of questions, 0..1."""
    accuracy_blank: float
    """The same with blank pictures."""
    visual_entropy: tuple[Estimate, ...]
    """Nats, by layer input."""
    text_entropy: tuple[Estimate, ...]
    kl: tuple[Estimate, ...]
    """KL(full || layer leaves visual tokens unchanged), nats, by layer."""
    treated: Treated
    profile: Profile


def read_records() -> Mapping[str, Backbone]:
    """The shipped records, by name of the model."""
    found = [
        Backbone.model_validate_json(read_text(path))
        for path in sorted(RECORDS.glob("*.json"), key=lambda path: path.stem)
    ]
    return {one.model: one for one in found}
