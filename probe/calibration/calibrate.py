"""calibrate(): the recipe of a calibration, from a model and samples to a profile.

model, processor, name = load_model("tiny-qwen2.5-vl")
profile = calibrate(model, processor, load_samples("scenes"), model_id=name, data="scenes")
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import wraps
from pathlib import Path
from typing import NamedTuple, ParamSpec

from pydantic import JsonValue
from transformers import PreTrainedModel

from halfv_core.cost import DecoderShape
from halfv_core.errors import DataError, ModelError
from halfv_core.families import Family, parts_of
from halfv_core.processors import PromptProcessor
from halfv_core.profile import Profile
from probe.calibration.build import Findings, observations_of, profile_of
from probe.calibration.decide import decide_stages
from probe.calibration.drawn import DrawnSamples
from probe.calibration.identity import Identity
from probe.calibration.observations import Observations
from probe.calibration.provenance import provenance_of
from probe.calibration.runner import Runner
from probe.calibration.settings import Settings
from probe.calibration.steps.curves import Curves
from probe.calibration.steps.examples import Examples, attended_layers, choose
from probe.calibration.steps.held_out_answers import HeldOutAnswers
from probe.calibration.steps.held_out_check import HeldOutCheck
from probe.calibration.steps.plans import Plans
from probe.calibration.steps.self_checks import SelfChecks
from probe.calibration.steps.stage_three import StageThree
from probe.calibration.steps.step import ProbedModel
from probe.calibration.steps.utility import MarginalUtility
from probe.calibration.take import take_plan
from probe.calibration.uncertainty import stage_uncertainty
from probe.common.journal import Journal
from probe.common.progress import OnProgress
from probe.data.samples import Sample, check_enough

__all__ = ["Calibrated", "Settings", "calibrate", "calibrate_in_full"]

P = ParamSpec("P")


class Calibrated(NamedTuple):
    """What a calibration gives."""

    profile: Profile
    observations: Observations
    """What it saw sample by sample, for the report."""


def calibrate_in_full(
    model: PreTrainedModel,
    processor: PromptProcessor,
    samples: Sequence[Sample],
    settings: Settings = Settings(),  # noqa: B008 - frozen
    *,
    model_id: str = "",
    data: str = "",
    arguments: Mapping[str, JsonValue] | None = None,
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
    drawn = DrawnSamples.draw(samples, settings)
    probed, shape = ProbedModel(model, processor, family), _decoder_shape(model, family)
    identity = Identity.of(model, processor, drawn.all, model_id)
    with nullcontext(None) if journal is None else Journal.open(journal, identity.key(settings)) as notes:
        run = Runner(probed, settings, shape, drawn.asked(settings), notes, on_progress, began)
        found = _find(run, drawn, settings, shape)
    provenance = provenance_of(
        probed,
        samples,
        drawn.unreadable,
        settings,
        identity,
        run,
        sample_ids=found.sample_ids,
        held_out_ids=found.held_out_ids,
        bytes_per_sample=found.measurements.bytes_per_sample,
        data=data,
        arguments=arguments or {},
        seconds=time.monotonic() - began,
    )
    profile = profile_of(found, provenance)
    return Calibrated(profile, observations_of(found, profile))


def _find(run: Runner, drawn: DrawnSamples, settings: Settings, shape: DecoderShape) -> Findings:
    """The steps in their order, and the decisions between them."""
    entropy_k, longest = settings.entropy_k, settings.max_new_tokens
    measurements, answers = run(Curves(entropy_k, longest, settings.release_curve), drawn.measured_on)
    check_enough("samples", len(answers), run.rejected, "give samples that the model can be measured on")
    if len(answers) < 2:
        raise DataError("too few samples to calibrate on", got=len(answers), expected="2 or more")
    unseen_answers = run(HeldOutAnswers(longest), drawn.kept_apart)
    measured_on = [sample for sample in drawn.measured_on if sample.id in answers]
    kept_apart = [sample for sample in drawn.kept_apart if sample.id in unseen_answers]
    checks = run(SelfChecks(entropy_k), measured_on[:1])

    utility = MarginalUtility(answers, settings, shape, measurements.mean_tokens)
    surface = run(utility, measured_on) if utility.plans else None
    curves = measurements.curves()
    decision = decide_stages(curves.visual.mean, curves.text.mean, curves.kl.mean, surface, settings.seed)
    stages = run.estimates.stages = decision.stages
    with run.timed("uncertainty"):
        uncertainty = stage_uncertainty(measurements, surface, settings.seed)

    saturation = run(StageThree(answers, settings, shape.layers, stages), measured_on)
    run.estimates.saturation = saturation
    tried = run(Plans(answers, settings, shape, measurements.mean_tokens, stages, saturation), measured_on)
    taken = take_plan(
        tried,
        settings,
        check=lambda plan, number: run(HeldOutCheck(unseen_answers, plan, number), kept_apart),
        affords=lambda plan, number: run.affords(HeldOutCheck(unseen_answers, plan), number, 2 * len(kept_apart)),
    )

    shown = unseen_answers or answers
    pool = [sample for sample in drawn.all if sample.id in shown]
    chosen = choose(pool, taken.changed, settings.examples)
    examples = run(Examples(shown, taken.plan, attended_layers(stages), longest), chosen)
    return Findings(
        shape, tuple(answers), tuple(unseen_answers), measurements, checks, surface, decision, uncertainty, saturation,
        taken, examples,
    )  # fmt: skip


def _decoder_shape(model: PreTrainedModel, family: Family | None) -> DecoderShape:
    """Sizes of a decoder that can be probed.

    Raises:
        ModelError: it cannot be.
    """
    parts_of(model, family)
    shape = DecoderShape.of(model.config.get_text_config(), next(model.parameters()).element_size())
    if shape.layers < 2:
        raise ModelError("a decoder this short has no stages", got=f"{shape.layers} layer", expected="2 or more")
    return shape


def _profile_alone(run: Callable[P, Calibrated]) -> Callable[P, Profile]:
    @wraps(run)
    def calibrate(*args: P.args, **kwargs: P.kwargs) -> Profile:
        return run(*args, **kwargs).profile

    calibrate.__name__ = calibrate.__qualname__ = "calibrate"
    calibrate.__annotations__ = run.__annotations__ | {"return": Profile}
    return calibrate


calibrate = _profile_alone(calibrate_in_full)
"""The profile of `calibrate_in_full`, alone."""
