"""The recipe of a calibration: from a model and samples to a profile.

model, processor, name = load_model("tiny-qwen2.5-vl")
profile = calibrate(model, processor, load_samples("scenes"), model_id=name, data="scenes")
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import NamedTuple, ParamSpec

from pydantic import JsonValue
from transformers import PreTrainedConfig, PreTrainedModel

from halfv_core.cost import DecoderShape
from halfv_core.devices import setting_of
from halfv_core.errors import DataError, ModelError
from halfv_core.families import Family, parts_of
from halfv_core.processors import PromptProcessor
from halfv_core.profile import Profile
from probe.calibration.build import Findings, observations_of, profile_of
from probe.calibration.causes import CausalEvidence
from probe.calibration.decide import decide_stages, with_causes
from probe.calibration.drawn import DrawnSamples
from probe.calibration.find_plan import Evidence, Grading, PlanFinder
from probe.calibration.identity import Identity
from probe.calibration.method_plan import Given, check_method, measure_for, method_plan, untried
from probe.calibration.observations import Observations
from probe.calibration.provenance import provenance_of
from probe.calibration.runner import Runner
from probe.calibration.settings import Settings
from probe.calibration.steps.causal_curves import CausalCurves, CausalCurvesAt
from probe.calibration.steps.curves import Curves
from probe.calibration.steps.examples import Examples, attended_layers, choose_examples
from probe.calibration.steps.held_out_answers import HeldOutAnswers
from probe.calibration.steps.self_checks import SelfChecks
from probe.calibration.steps.step import ProbedModel
from probe.calibration.steps.utility import MarginalUtility
from probe.calibration.uncertainty import stage_uncertainty
from probe.common.data_parallel import ALONE, DataParallel
from probe.common.journals import opened
from probe.common.progress import OnProgress
from probe.data.samples import Sample, check_enough
from probe.trials.proofs import admit

__all__ = ["Calibrated", "Settings", "calibrate", "calibrate_in_full"]

P = ParamSpec("P")


class Calibrated(NamedTuple):
    """The result of a calibration."""

    profile: Profile
    observations: Observations
    """What was measured on each sample, for the report."""


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
    data_parallel: DataParallel = ALONE,
) -> Calibrated:
    """Measure a model on samples. `calibrate` returns the profile; `calibrate_in_full` adds what each sample gave.

    Args:
        samples: the samples to draw from. `settings.samples` of them are used; samples whose images cannot be opened
            are skipped.
        model_id: the model's name for the profile's provenance, by default the path that it was loaded from.
        data: the name of the data, for the provenance.
        arguments: the options that the user typed, for the provenance.
        family: a description of the model, if no registered family fits it.
        journal: a file that stores the results of single samples, so that an interrupted run continues where it stopped
            and gives the same profile. The caller deletes it once the profile has been saved. Further processes have
            files beside it (see `probe.common.journals`).
        on_progress: called as each step advances, in the first process.
        data_parallel: the processes that share the samples, each of which has a whole model. All of them call this with
            the same arguments and get the same result, which is that of one process, times apart.

    The processes of a tensor-parallel model all call this with the same arguments and get the same result. The first of
    them writes the journal.

    Raises:
        DataError: too few samples, too few that can be opened and measured, or two with the same id.
        ModelError: the model cannot be probed.
        PlanError: the method that is asked for cannot be used with this model, or not at this budget.
        HalfVError: the journal belongs to a calibration with another model, other data or other settings.
    """
    started = time.monotonic()
    with data_parallel.together():
        drawn = DrawnSamples.draw(samples, settings)
        probed, shape = ProbedModel(model, processor, family, settings.low_memory), _decoder_shape(model, family)
        if settings.latency_table is not None:
            settings.latency_table.check(model.config, setting_of(model))
        if settings.method is not None:
            check_method(settings.method, model.config, settings.target_flops)
        admit(model, processor, family=family)
        identity = Identity.of(model, processor, drawn.all, model_id)
        # A run that was out of memory continues with low memory.
        key = identity.key(settings.model_dump(mode="json", exclude={"low_memory"}))
        ranks = parts_of(model, family).ranks
        data_parallel.check_same(key, but="device")
        with opened(journal, key, ranks, data_parallel) as records:
            work = drawn.requested_work(settings)
            run = Runner(probed, settings, shape, work, records, on_progress, started, data_parallel)
            if not data_parallel.is_first:
                return run.serve(drawn.all, Calibrated)
            findings = _run_steps(run, drawn, settings, shape, model.config)
        provenance = provenance_of(
            samples,
            drawn.unreadable,
            identity,
            run,
            sample_ids=findings.sample_ids,
            held_out_ids=findings.held_out_ids,
            bytes_per_sample=findings.measurements.bytes_per_sample,
            data=data,
            seed=settings.seed,
            arguments=arguments or {},
            resolved=settings.model_dump(mode="json", exclude={"latency_table"}),
            seconds=time.monotonic() - started,
            dropped=run.budget.dropped,
        )
        profile = profile_of(findings, provenance)
        return run.finish(Calibrated(*ranks.agreed_value((profile, observations_of(findings, profile)))))


def _run_steps(
    run: Runner, drawn: DrawnSamples, settings: Settings, shape: DecoderShape, config: PreTrainedConfig
) -> Findings:
    """Run the steps in order, and take the decisions between them."""
    entropy_k, max_new_tokens = settings.entropy_k, settings.max_new_tokens

    # Curves of the calibration samples, and the full model's answers to all samples.
    kl_ids = frozenset(sample.id for sample in drawn.calibration[: settings.kl_samples])
    measurements, answers = run(Curves(entropy_k, max_new_tokens, settings.release_curve, kl_ids), drawn.calibration)
    check_enough("samples", len(answers), run.rejected, "give samples that the model can be measured on")
    if len(answers) < 2:
        raise DataError("too few samples to calibrate on", got=len(answers), expected="2 or more")
    if not measurements.kl_rows:
        got = f"none of the first {len(kl_ids)} that could be measured"
        raise DataError("no sample has a KL curve", got=got, remedy="raise kl_samples (--kl-samples)")
    held_out_answers = run(HeldOutAnswers(max_new_tokens), drawn.held_out)
    calibration = [sample for sample in drawn.calibration if sample.id in answers]
    held_out = [sample for sample in drawn.held_out if sample.id in held_out_answers]
    checks = run(SelfChecks(entropy_k), calibration[:1])

    # Where Stages II and III begin: proposed by curves, decided by what interventions do.
    tokens = measurements.mean_tokens
    utility = MarginalUtility(answers, settings, shape, tokens)
    surface = run(utility, calibration) if utility.plans else None
    curves = measurements.curves()
    decision = decide_stages(curves.visual.mean, curves.text.mean, curves.redundancy, surface, settings.seed)
    by_curves, causes = decision.stages.saturation_start, None
    if settings.method is None:
        causal = CausalCurves(answers, shape.layers, settings.top_share, by_curves, first=shape.first_ranked)
        causes = CausalEvidence.of(*run(causal, calibration), shape, tokens)
        if between := causes.between():
            further = run(
                CausalCurvesAt(answers, shape.layers, settings.top_share, between),
                calibration[: len(causes.losses.control)],
            )
            causes = causes.joined(CausalEvidence.of(*further, shape, tokens))
    if causes is not None and causes.is_conclusive:
        start = causes.start()
        decision = with_causes(decision, start and start.layer, causes.sentence)
    with run.timed("uncertainty"):
        deciding = causes if causes is not None and causes.is_conclusive else None
        uncertainty = stage_uncertainty(measurements, surface, settings.seed, causes=deciding)

    # The plan, and what is proven about it.
    finder = PlanFinder(
        run, settings, shape, config, tokens, calibration, answers, held_out, held_out_answers,
        Grading.of(run.model, calibration, answers, held_out),
    )  # fmt: skip
    if causes is not None:
        saturation, method = causes.saturation(by_curves, settings.seed), None
        evidence = Evidence(
            decision.stages, saturation, surface, causes.losses, curves.redundancy, causes.picture_needed
        )
        chosen, effort = finder.find(evidence)
    else:
        assert settings.method is not None
        given = Given(answers, shape, settings.retention)
        measured = measure_for(settings.method, given, lambda step: run(step, calibration))
        plan, method = method_plan(settings, config, measurements, measured, run.budget.work.method)
        saturation, chosen, effort = untried(settings), finder.given(plan), None

    # A few samples under the plan, for the report.
    shown = held_out_answers or answers
    pool = [sample for sample in drawn.all if sample.id in shown]
    example_samples = choose_examples(pool, chosen.changed_ids, settings.examples)
    if effort is not None:
        effort = effort.model_copy(update={"passes": round(run.passes / len(answers), 1)})
    examples = run(Examples(shown, chosen.plan, attended_layers(decision.stages), max_new_tokens), example_samples)
    return Findings(
        shape, tuple(answers), tuple(held_out_answers), measurements, checks, surface, decision, uncertainty,
        saturation, chosen, examples, method, causes and causes.record(by_curves), effort,
    )  # fmt: skip


def _decoder_shape(model: PreTrainedModel, family: Family | None) -> DecoderShape:
    """Sizes of the model's decoder.

    Raises:
        ModelError: the model cannot be probed.
    """
    parts_of(model, family)
    shape = DecoderShape.of(model.config.get_text_config(), next(model.parameters()).element_size())
    if shape.layers < 2:
        raise ModelError("a decoder this short has no stages", got=f"{shape.layers} layer", expected="2 or more")
    return shape


def _profile_only(run: Callable[P, Calibrated]) -> Callable[P, Profile]:
    @wraps(run)
    def calibrate(*args: P.args, **kwargs: P.kwargs) -> Profile:
        return run(*args, **kwargs).profile

    calibrate.__name__ = calibrate.__qualname__ = "calibrate"
    calibrate.__annotations__ = run.__annotations__ | {"return": Profile}
    return calibrate


calibrate = _profile_only(calibrate_in_full)
"""`calibrate_in_full`, returning only the profile."""
