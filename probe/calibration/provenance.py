"""Provenance of a profile or an analysis: everything that is needed to reproduce it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from pydantic import JsonValue

from halfv_core.families import parts_of
from halfv_core.profile import Provenance, checkpoint_revision
from probe.calibration.identity import Identity
from probe.calibration.step_runner import StepRunner
from probe.data.inputs import frames_as_images
from probe.data.samples import SHOWN, Rejected, Sample, Samples


def provenance_of(
    samples: Sequence[Sample],
    unreadable: Sequence[Rejected],
    identity: Identity,
    runner: StepRunner,
    *,
    sample_ids: tuple[str, ...],
    held_out_ids: tuple[str, ...] = (),
    bytes_per_sample: int = 0,
    data: str,
    seed: int,
    arguments: Mapping[str, JsonValue],
    resolved: Mapping[str, JsonValue],
    seconds: float,
    dropped: tuple[str, ...],
) -> Provenance:
    """Collect the provenance at the end of the work.

    Args:
        samples: all samples that were given.
        unreadable: samples that the draw skipped.
        runner: what measured the others.
        data, arguments: as the user typed them.
        resolved: the arguments with all defaults filled in.
        seconds: duration of all of the work.
        dropped: what a budget left out, one sentence each.
    """
    columns, bad_rows = (samples.columns.given(), samples.rejected) if isinstance(samples, Samples) else ({}, ())
    parts = parts_of(runner.model.model, runner.model.family)
    rejected = [*bad_rows, *unreadable, *runner.rejected]
    videos = {"videos": "frames as images"} if frames_as_images(runner.model.processor, samples) else {}
    return Provenance(
        model_id=identity.model,
        revision=checkpoint_revision(runner.model.model.config),
        model_type=runner.model.model.config.model_type,
        admitted=None if parts.is_tested else str(parts.pair),
        config_fingerprint=identity.config,
        data=data,
        data_columns=columns,
        data_fingerprint=identity.data,
        rejected=len(rejected),
        rejected_first=tuple(map(str, rejected[:SHOWN])),
        sample_ids=sample_ids,
        held_out_ids=held_out_ids,
        bytes_per_sample=bytes_per_sample,
        image_processor=runner.model.processor.image_limits() | videos,
        seed=seed,
        arguments_given=dict(arguments),
        arguments_resolved=dict(resolved),
        versions=identity.versions,
        device=identity.device,
        dtype=identity.dtype,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
        seconds_by_step={step: round(elapsed, 1) for step, elapsed in runner.seconds.items()},
        dropped=dropped,
    )
