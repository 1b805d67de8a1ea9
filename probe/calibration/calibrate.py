"""calibrate(): from a model and samples to a profile; the only place where the steps of a calibration are put in order.

model, processor, name = load_model("tiny-qwen2.5-vl")
profile = calibrate(model, processor, load_samples("scenes"), model_id=name, data="scenes")
"""

import platform
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue
from transformers import PreTrainedModel

from halfv_core.errors import DataError
from halfv_core.families import Family
from halfv_core.processors import PromptProcessor
from halfv_core.profile import Profile, Provenance, config_fingerprint
from probe.calibration.budget.control import BudgetControl
from probe.calibration.build import Measurements, expected
from probe.calibration.cautions import cautions
from probe.calibration.decide import decide_stages
from probe.calibration.identity import setup_fingerprint, weights_fingerprint
from probe.calibration.observations import Example, Observations, SampleCurves
from probe.calibration.settings import Settings
from probe.calibration.study import Study
from probe.calibration.uncertainty import stage_uncertainty
from probe.common.journal import Journal
from probe.common.progress import OnProgress
from probe.common.result_cache import ResultCache
from probe.data.draw import draw_readable, hold_out
from probe.data.samples import SHOWN, Sample, Samples, data_fingerprint

__all__ = ["Calibrated", "Settings", "calibrate", "calibrate_in_full"]

_CURVES = ("visual", "text", "joint", "kl")
_PACKAGES = ("halfv-probe", "torch", "transformers", "nnsight", "numpy")


class Calibrated(NamedTuple):
    """What a calibration gives."""

    profile: Profile
    observations: Observations
    """What it saw sample by sample, for the report."""


def calibrate(
    model: PreTrainedModel,
    processor: PromptProcessor,
    samples: Sequence[Sample],
    settings: Settings = Settings(),  # noqa: B008 - frozen
    *,
    model_id: str = "",
    data: str = "",
    arguments: dict[str, JsonValue] | None = None,
    family: Family | None = None,
    journal: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Profile:
    """Measure a model on samples and write down what was learnt: the profile of `calibrate_in_full`."""
    return calibrate_in_full(
        model,
        processor,
        samples,
        settings,
        model_id=model_id,
        data=data,
        arguments=arguments,
        family=family,
        journal=journal,
        on_progress=on_progress,
    ).profile


def calibrate_in_full(
    model: PreTrainedModel,
    processor: PromptProcessor,
    samples: Sequence[Sample],
    settings: Settings = Settings(),  # noqa: B008 - frozen
    *,
    model_id: str = "",
    data: str = "",
    arguments: dict[str, JsonValue] | None = None,
    family: Family | None = None,
    journal: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Calibrated:
    """Measure a model on samples and write down what was learnt, and what was seen on the way.

    Args:
        samples: all there are; `settings.samples` of them are drawn, those whose images cannot be opened passed over.
        model_id, data: names for the profile's provenance; `arguments` are those the user typed, likewise.
        family: description of the model when no registered one fits.
        journal: file in which results of single samples are noted; a run that finds it goes on there, to the same
            profile. It stays: delete it when the profile is safe.
        on_progress: told about each step.

    Raises:
        DataError: too few samples, too few that can be opened and measured, or two with the same id.
        ModelError: a model that cannot be probed.
        HalfVError: a journal of other work.
    """
    began = time.monotonic()
    drawn, unreadable = draw_readable(samples, settings.samples, settings.seed)
    twice = [name for name, times in Counter(sample.id for sample in drawn).items() if times > 1]
    if twice:
        raise DataError("ids of samples must differ", got=f"{twice[0]!r} more than once")
    measured_on, kept_apart = hold_out(drawn, settings.held_out)
    if len(measured_on) < 2:
        raise DataError("too few samples to calibrate on", got=len(measured_on), expected="2 or more")
    versions = {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
    identity: dict[str, JsonValue] = {
        "model": model_id or str(model.config.name_or_path),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        **settings.model_dump(mode="json"),
        **versions,
        "config": config_fingerprint(model.config),
        "weights": weights_fingerprint(model),
        "setup": setup_fingerprint(model, processor),
        "data": data_fingerprint(drawn),
    }
    with nullcontext(None) if journal is None else Journal.open(journal, identity) as notes:
        memo = ResultCache(notes)
        pace = BudgetControl(settings.budget, len(measured_on), len(kept_apart), memo, began, settings.examples)
        study = Study(model, processor, settings, family, on_progress or (lambda *_: None), memo, pace)
        measurements, cases, unmeasured = study.measure(measured_on)
        if len(cases) < 2:
            raise DataError("too few samples to calibrate on", got=len(cases), expected="2 or more")
        held_out, unanswered = study.cases(kept_apart, measurements)
        checks = study.checks(next(sample for sample in measured_on if sample.id == cases[0].id))
        curves = measurements.curves()
        surface = study.utility(cases, measurements)
        stages, candidates = decide_stages(curves.visual.mean, curves.text.mean, curves.kl.mean, surface, settings.seed)
        with study.timed("uncertainty"):
            uncertainty = stage_uncertainty(measurements, surface, settings.seed)
        saturation = study.classify(cases, stages, measurements)
        tests, taken, unseen = study.search(cases, held_out, measurements, stages, saturation)
        shown = study.examples(drawn, held_out or cases, measurements, stages, taken.plan)
    rejected = [*(samples.rejected if isinstance(samples, Samples) else ()), *unreadable, *unmeasured, *unanswered]
    profile = Profile(
        plan=taken.plan,
        stages=stages,
        saturation=saturation,
        pruning_tests=tests,
        curves=curves,
        expected=expected(taken.plan, study.shape, measurements, len(held_out), *(unseen or (None, None))),
        uncertainty=uncertainty,
        utility=None if surface is None else surface.record(candidates),
        checks=checks,
        provenance=Provenance(
            model_id=str(identity["model"]),
            model_type=model.config.model_type,
            config_fingerprint=str(identity["config"]),
            data=data,
            data_columns=samples.columns.given() if isinstance(samples, Samples) else {},
            data_fingerprint=str(identity["data"]),
            rejected=len(rejected),
            rejected_first=tuple(map(str, rejected[:SHOWN])),
            sample_ids=tuple(case.id for case in cases),
            held_out_ids=tuple(case.id for case in held_out),
            bytes_per_sample=measurements.bytes_per_sample,
            image_processor=processor.image_limits(),
            seed=settings.seed,
            arguments_given=arguments or {},
            arguments_resolved=settings.model_dump(mode="json"),
            versions=versions,
            device=str(identity["device"]),
            dtype=str(identity["dtype"]),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - began, 1),
            seconds_by_step={step: round(seconds, 1) for step, seconds in study.seconds.items()},
            dropped=pace.dropped,
        ),
    )
    profile = profile.model_copy(update={"cautions": cautions(profile)})
    return Calibrated(profile, _observations(profile, measurements, shown))


def _observations(profile: Profile, measured: Measurements, examples: tuple[Example, ...]) -> Observations:
    where, curves = profile.provenance, zip(measured.visual, measured.text, measured.joint, measured.kl, strict=True)
    return Observations(
        config_fingerprint=where.config_fingerprint,
        created=where.created,
        samples=tuple(
            SampleCurves(id=name, **{kind: _short(curve) for kind, curve in zip(_CURVES, own, strict=True)})
            for name, own in zip(where.sample_ids, curves, strict=True)
        ),
        examples=examples,
    )


def _short(curve: Iterable[float]) -> tuple[float, ...]:
    """To 4 significant digits: a chart shows no more, and a hundred samples stay small."""
    return tuple(float(f"{value:.4g}") for value in curve)
