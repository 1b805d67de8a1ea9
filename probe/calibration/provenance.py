"""Provenance of a profile: everything that is needed to reproduce it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from pydantic import JsonValue

from halfv_core.profile import Provenance
from probe.calibration.identity import Identity
from probe.calibration.runner import Runner
from probe.calibration.settings import Settings
from probe.calibration.steps.step import ProbedModel
from probe.data.samples import SHOWN, Rejected, Sample, Samples


def provenance_of(
    model: ProbedModel,
    samples: Sequence[Sample],
    unreadable: Sequence[Rejected],
    settings: Settings,
    identity: Identity,
    runner: Runner,
    *,
    sample_ids: tuple[str, ...],
    held_out_ids: tuple[str, ...],
    bytes_per_sample: int,
    data: str,
    arguments: Mapping[str, JsonValue],
    seconds: float,
) -> Provenance:
    """Collect the provenance at the end of a calibration.

    Args:
        samples: all samples that were given.
        unreadable: samples that the draw skipped.
        data, arguments: as the user typed them.
        seconds: duration of the whole calibration.
    """
    columns, bad_rows = (samples.columns.given(), samples.rejected) if isinstance(samples, Samples) else ({}, ())
    rejected = [*bad_rows, *unreadable, *runner.rejected]
    return Provenance(
        model_id=identity.model,
        model_type=model.model.config.model_type,
        config_fingerprint=identity.config,
        data=data,
        data_columns=columns,
        data_fingerprint=identity.data,
        rejected=len(rejected),
        rejected_first=tuple(map(str, rejected[:SHOWN])),
        sample_ids=sample_ids,
        held_out_ids=held_out_ids,
        bytes_per_sample=bytes_per_sample,
        image_processor=model.processor.image_limits(),
        seed=settings.seed,
        arguments_given=dict(arguments),
        arguments_resolved=settings.model_dump(mode="json", exclude={"latency_table"}),
        versions=identity.versions,
        device=identity.device,
        dtype=identity.dtype,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
        seconds_by_step={step: round(elapsed, 1) for step, elapsed in runner.seconds.items()},
        dropped=runner.budget.dropped,
    )
