"""compare_methods(): every method at every budget on the same samples, the full model first.

found = compare_methods(model, processor, samples, budgets=(2, 3, 4))
[(row.label, row.retention) for row in found.rows]
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from pydantic import JsonValue
from transformers import PreTrainedModel

from halfv_core.errors import HalfVError
from halfv_core.families import Family, parts_of
from halfv_core.methods import Target, measured_by
from halfv_core.placement import device_of
from halfv_core.plan import Plan
from halfv_core.processors import PromptProcessor
from halfv_core.profile import Profile
from probe.common.data_parallel import ALONE, DataParallel
from probe.common.progress import OnProgress, counter
from probe.common.statistics import by_family, family_mean
from probe.data.inputs import inputs_of
from probe.data.samples import Sample
from probe.evaluation.conditions import Conditions
from probe.evaluation.evaluate import check_references
from probe.evaluation.grading import Grading, metric_of
from probe.evaluation.methods.entrants import (
    Entrant,
    budgets_of,
    chosen_methods,
    entrants,
    typical_prompt,
)
from probe.evaluation.methods.records import MethodComparison, Question, Refusal, Row
from probe.evaluation.methods.runs import Batch, Outcome, Runner
from probe.evaluation.methods.tuning import Tuner, TuningSet, tuning_journal
from probe.evaluation.outcomes import cost_ratios, retentions
from probe.evaluation.session import Given, Session
from probe.evaluation.variants import FULL
from probe.trials.proofs import admit


def compare_methods(
    model: PreTrainedModel,
    processor: PromptProcessor,
    samples: Sequence[Sample],
    *,
    budgets: Sequence[float],
    methods: Sequence[str] = (),
    profile: Profile | None = None,
    more_profiles: Mapping[str, Profile] = {},
    tuning: TuningSet | None = None,
    earlier: MethodComparison | None = None,
    grading: Grading = "auto",
    max_new_tokens: int = 32,
    batch: int = 1,
    seed: int = 0,
    model_id: str = "",
    profile_id: str = "",
    data: str = "",
    arguments: Mapping[str, JsonValue] | None = None,
    family: Family | None = None,
    journal: Path | None = None,
    on_progress: OnProgress | None = None,
    data_parallel: DataParallel = ALONE,
) -> MethodComparison:
    """Answer every sample under every method at every budget.

    Plans are made for a prompt of the samples' mean length. The costs in the result are those of what ran.

    Args:
        budgets: how many times fewer FLOPs of the decoder's prefill, each above 1.
        methods: registered names; by default all. The controls always take part.
        profile: a calibration of this model: its plan takes part as it is, and so does the best plan of its frontier at
            each budget. Methods use its measurements.
        more_profiles: further calibrations of this model, by name: their plans take part likewise.
        tuning: samples on which each method's settings are chosen at each budget; without them methods have their
            default settings.
        earlier: a comparison of the same model on the same samples: plans that it has do not run again, and the result
            has no single answers, as those of its rows are not at hand.
        grading: metric for the answers.
        batch: how many samples run together, which changes neither answers nor FLOPs but for rounding.
        seed: seed of the bootstrap.
        model_id, profile_id, data, arguments: recorded in the result.
        family: description of the model, if no registered family fits.
        journal: file in which finished samples are stored, and from which an interrupted run resumes; tuning has one
            beside it (see `tuning_journal`). They are not deleted; do that once the result is saved. Further processes
            have files beside them.
        data_parallel: the processes that share the samples. All of them call this with the same arguments and get the
            same result, which is that of one process, times apart.

    Raises:
        DataError: no samples, a sample without a reference answer, or one that cannot be graded with this metric, among
            those to compare or to tune on.
        ProfileError: the profile was made for another model.
        PlanError: an unknown method.
        HalfVError: a budget that is not above 1, an earlier comparison that was made under other conditions, or the
            journal belongs to other work.
    """
    check_references(samples)
    for sample in samples:
        metric_of(sample, grading)
    profiles = ({} if profile is None else {"": profile}) | dict(more_profiles)
    for one in profiles.values():
        one.check_model(model.config)
    admit(model, processor, family=family)
    wanted, names = budgets_of(budgets), chosen_methods(methods)
    given = Given(model_id, profile_id, data, arguments or {})
    session = Session(model, samples, given, grading=grading, max_new_tokens=max_new_tokens, seed=seed)
    if earlier is not None:
        _check_conditions(earlier, session.conditions(profile))
    on_progress = on_progress if data_parallel.is_first else None
    report = on_progress or (lambda step, done, total: None)
    with data_parallel.together():
        prompt = data_parallel.of_first(lambda: _typical_prompt(model, processor, samples, report, family))
        target = Target.of(model.config, *prompt, None if profile is None else measured_by(profile))
        found, refused = data_parallel.of_first(
            lambda: entrants(
                names, target, wanted, profiles, counter(report, "plans", len(names)), tuning=tuning is not None
            )
        )
        tuned_on = None
        if tuning is not None:
            beside = None if journal is None else tuning_journal(journal)
            tuner = Tuner(model, processor, grading, max_new_tokens, family)
            found, tuned_on = tuner.tune(
                found, tuning, model_id=model_id, journal=beside, on_progress=on_progress, data_parallel=data_parallel
            )
            shared = {sample.id for sample in samples} & set(tuned_on.sample_ids) if data == tuning.data else ()
            tuned_on = tuned_on.model_copy(update={"shared": len(shared)})
        known = {_plan_key(row.plan): row for row in earlier.rows} if earlier else {}
        new = [one for one in found if one.method == FULL or _plan_key(one.plan) not in known]
        runner = Runner(model, processor, grading, max_new_tokens, family)
        # What fails in one process is left out in all.
        failed = data_parallel.tell(data_parallel.collect(runner.try_out(new, samples[:1])))
        failures = {key: reason for one in reversed(failed) for key, reason in one.items()}
        ran_on = session.measured(
            Batch,
            lambda number, some, before: runner.run(number, _running(new, failures, before), some),
            batch=batch,
            identity={
                "batch": batch,
                "plans": {one.key: one.plan.model_dump(mode="json") for one in new if one.key not in failures},
            },
            journal=journal,
            ranks=parts_of(model, family).ranks,
            on_progress=on_progress,
            data_parallel=data_parallel,
        )

        def comparison() -> MethodComparison:
            failed = failures | _failures(ran_on)
            ran = _running(new, failed, ())
            rows = {one.key: row for one, row in zip(ran, summarise(ran, ran_on, seed), strict=True)}
            rows |= {one.key: _row_of(one, known[_plan_key(one.plan)]) for one in found if one not in new}
            return MethodComparison(
                **session.conditions(profile).model_dump(),
                model_type=model.config.model_type,
                budgets=wanted,
                visual_tokens=prompt[0],
                text_tokens=prompt[1],
                batch=batch,
                rows=tuple(rows[one.key] for one in found if one.key in rows),
                refused=_in_order([*refused, *(one.refused(failed[one.key]) for one in found if one.key in failed)]),
                samples=len(samples),
                tuned_on=tuned_on,
                questions=() if earlier else tuple(question for one in ran_on for question in _questions(one, ran)),
            )

        return data_parallel.of_first(comparison)


def summarise(ran: Sequence[Entrant], batches: Sequence[Batch], seed: int = 0) -> tuple[Row, ...]:
    """A row for each plan.

    Args:
        ran: the plans that ran on all samples, the full model among them.
        batches: all samples.
        seed: seed of the bootstrap.
    """
    families = [family for one in batches for family in one.families]
    outside = sum(one.outside_flops for one in batches)
    runs = [[one.outcomes[entrant.key] for one in batches] for entrant in ran]
    answers = [[answer for run in own for answer in run.answers] for own in runs]
    grades = [[grade for run in own for grade in run.grades] for own in runs]
    full = [entrant.key for entrant in ran].index(FULL)
    retained = retentions(grades, full, families, seed)
    return tuple(
        Row(
            method=entrant.method,
            title=entrant.title,
            is_control=entrant.is_control,
            budget=entrant.budget,
            plan=entrant.plan,
            setting=entrant.setting,
            candidates=entrant.candidates,
            by_family=by_family(grades[row], families),
            accuracy=family_mean(grades[row], families),
            retention=retained[row].share,
            retention_interval=retained[row].interval,
            agreement=family_mean([float(a == b) for a, b in zip(answers[row], answers[full], strict=True)], families),
            **cost_ratios([run.cost for run in runs[row]], outside),
            **_times(runs[full], runs[row]),
        )
        for row, entrant in enumerate(ran)
    )


def _times(full: Sequence[Outcome], own: Sequence[Outcome]) -> dict[str, float]:
    return {
        "prefill_seconds": median(run.prefill_seconds / len(run.answers) for run in own),
        "prefill_ratio": median(a.prefill_seconds / b.prefill_seconds for a, b in zip(full, own, strict=True)),
        "selection_share": median(run.selection_seconds / run.prefill_seconds for run in own),
    }


def _typical_prompt(
    model: PreTrainedModel,
    processor: PromptProcessor,
    samples: Sequence[Sample],
    report: OnProgress,
    family: Family | None,
) -> tuple[int, int]:
    on_prompt = counter(report, "prompts", len(samples))
    lengths = []
    for sample in samples:
        inputs = inputs_of(processor, sample, device_of(model))
        lengths.append({"input_ids": inputs["input_ids"]})
        on_prompt()
    return typical_prompt(model, lengths, family)


def _check_conditions(earlier: MethodComparison, now: Conditions) -> None:
    """Raise HalfVError if rows of an earlier comparison cannot stand beside new ones."""
    for name in ("model_id", "data_fingerprint", "dtype", "versions"):
        got, expected = getattr(earlier, name), getattr(now, name)
        if got != expected:
            raise HalfVError(
                f"the earlier comparison has another {name}", got=got, expected=expected, remedy="run all plans"
            )


def _plan_key(plan: Plan) -> str:
    return plan.model_dump_json()


def _row_of(one: Entrant, measured: Row) -> Row:
    """The row of an entrant whose plan was measured before, perhaps as that of another method."""
    own = {name: getattr(one, name) for name in ("method", "title", "is_control", "budget", "setting", "candidates")}
    return measured.model_copy(update=own)


def _running(found: Sequence[Entrant], failures: Mapping[str, str], earlier: Sequence[Batch]) -> list[Entrant]:
    """The plans that have not failed yet."""
    failed = failures.keys() | _failures(earlier).keys()
    return [one for one in found if one.key not in failed]


def _failures(batches: Sequence[Batch]) -> dict[str, str]:
    """The reason of the first batch on which each plan failed."""
    return {key: reason for one in reversed(batches) for key, reason in one.failures.items()}


def _in_order(refused: Sequence[Refusal]) -> tuple[Refusal, ...]:
    return tuple(sorted(refused, key=lambda one: (one.method, one.budget or 0)))


def _questions(one: Batch, ran: Sequence[Entrant]) -> Iterator[Question]:
    outcomes = [one.outcomes[entrant.key] for entrant in ran]
    for row, id in enumerate(one.ids):
        yield Question(
            id=id,
            family=one.families[row],
            references=one.references[row],
            grading=one.gradings[row],
            answers=tuple(run.answers[row] for run in outcomes),
            grades=tuple(run.grades[row] for run in outcomes),
        )
