"""ablate(): what each part of a profile's plan contributes, measured on the same samples in one run.

ablation = ablate(model, processor, samples, profile)
ablation.variants["ivr+ssr"].retention
"""

import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from pydantic import JsonValue, ValidationError
from transformers import PreTrainedModel

from halfv_core.errors import first_fault
from halfv_core.families import Family, parts_of
from halfv_core.files import write_atomically
from halfv_core.placement import device_of
from halfv_core.processors import PromptProcessor
from halfv_core.profile import Profile, config_fingerprint
from halfv_core.records import Record
from probe.common.journal import Journal
from probe.common.progress import OnProgress, counter
from probe.data.samples import Sample, data_fingerprint
from probe.evaluation.comparison import Comparer
from probe.evaluation.evaluate import check_references
from probe.evaluation.grading import Grading, metric_of
from probe.evaluation.outcomes import Comparison, Summary, summarise
from probe.evaluation.variants import Variants, variants_of

_PACKAGES = ("halfv-probe", "torch", "transformers")


class Ablation(Record):
    """The result of `halfv-probe evaluate`."""

    schema_version: Literal[1] = 1
    model_id: str
    """Name or path of the model, as the user gave it."""
    profile: str
    """Path of the profile, as the user gave it."""
    data: str
    """Name or path of the data, as the user gave it."""
    variants: dict[str, Summary]
    missing: dict[str, str]
    """Variant that the profile does not have -> the reason."""
    calibrated_on: int
    """Number of samples on which the plan was chosen, as far as their ids tell; results on them are optimistic."""
    comparisons: tuple[Comparison, ...]
    resumed: int
    """Number of comparisons that an earlier, interrupted run had finished."""
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

    def save(self, path: str | Path) -> None:
        """Write as JSON, atomically."""
        write_atomically(Path(path), self.model_dump_json(indent=1) + "\n")


def ablate(
    model: PreTrainedModel,
    processor: PromptProcessor,
    samples: Sequence[Sample],
    profile: Profile,
    *,
    variants: Variants | None = None,
    grading: Grading = "auto",
    max_new_tokens: int = 32,
    seed: int = 0,
    model_id: str = "",
    profile_id: str = "",
    data: str = "",
    arguments: Mapping[str, JsonValue] | None = None,
    family: Family | None = None,
    journal: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Ablation:
    """Answer every sample under every variant of the profile's plan.

    Args:
        variants: the variants to run; by default all that the profile has.
        grading: metric for the answers.
        seed: seed of the bootstrap.
        model_id, profile_id, data, arguments: recorded in the result.
        family: description of the model, if no registered family fits.
        journal: file in which finished samples are stored, and from which an interrupted run resumes. It is not
            deleted; do that once the result is saved.

    Raises:
        DataError: no samples, a sample without a reference answer, or one that cannot be graded with this metric.
        ProfileError: the profile was made for another model.
        HalfVError: the journal belongs to other work.
    """
    began = time.monotonic()
    check_references(samples)
    for sample in samples:
        metric_of(sample, grading)
    profile.check_model(model.config)
    variants = variants or variants_of(profile)
    versions = {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
    identity: dict[str, JsonValue] = {
        "model": model_id or str(model.config.name_or_path),
        "config": config_fingerprint(model.config),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(device_of(model)),
        "plans": {name: plan.model_dump(mode="json") for name, plan in variants.plans.items()},
        "data": data_fingerprint(samples),
        "grading": grading,
        "max_new_tokens": max_new_tokens,
        "versions": dict(versions),
    }
    comparer = Comparer(model, processor, variants.plans, grading, max_new_tokens, family)
    ranks = parts_of(model, family).ranks
    with nullcontext(None) if journal is None else Journal.open(journal, identity, ranks) as opened:
        comparisons = _finished(opened) if opened else []
        resumed = len(comparisons)
        on_sample = counter(on_progress or (lambda step, done, total: None), "samples", len(samples))
        for _ in comparisons:
            on_sample()
        for index in range(resumed, len(samples)):
            comparisons.append(comparer.compare(index, samples[index]))
            if opened:
                opened.add(comparisons[-1].model_dump(mode="json"))
            on_sample()
    return Ablation(
        model_id=str(identity["model"]),
        profile=profile_id,
        data=data,
        variants=summarise(variants.plans, comparisons, seed),
        missing=variants.missing,
        calibrated_on=_overlap(profile, data, samples),
        comparisons=tuple(comparisons),
        resumed=resumed,
        data_fingerprint=str(identity["data"]),
        seed=seed,
        arguments_given=dict(arguments or {}),
        versions=versions,
        machine=_machine(device_of(model)),
        device=str(device_of(model)),
        dtype=str(identity["dtype"]),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - began, 1),
    )


def _finished(journal: Journal) -> list[Comparison]:
    try:
        return [Comparison.model_validate(record) for record in journal.records]
    except ValidationError as error:
        raise journal.damaged(first_fault(error)) from None


def _overlap(profile: Profile, data: str, samples: Sequence[Sample]) -> int:
    """Number of samples that the profile was calibrated on.

    Many data sets use row numbers as ids, so ids are compared only if the data have the same name.
    """
    if data != profile.provenance.data:
        return 0
    return len({sample.id for sample in samples} & set(profile.provenance.sample_ids))


def _machine(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"
