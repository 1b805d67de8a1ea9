"""Tuning: which of the settings that a method offers is best at a budget, on samples kept apart from the comparison.

Every setting is brought to the budget by the method's own knob. What counts is the graded score, exactly as in the
comparison. To save time, the full model's answer is read under each plan by teacher forcing, from the plan's first
layer on (see probe.trials.try_plans). Where greedy decoding would give the same answer, its grade is known; only an
answer that changes is generated and graded. Of equal scores, the higher likelihood of the full model's answers counts,
then the order of `Method.variants`, in which the default settings are first.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from halfv_core.errors import DataError
from halfv_core.families import Family, parts_of
from halfv_core.placement import device_of
from halfv_core.processors import PromptProcessor
from halfv_core.records import Record
from halfv_core.runtime import apply
from probe.capture.replay import Replay
from probe.common.data_parallel import ALONE, DataParallel
from probe.common.progress import OnProgress
from probe.common.statistics import family_mean
from probe.data.inputs import inputs_of
from probe.data.samples import Sample, data_fingerprint
from probe.evaluation.evaluate import check_references, question_family
from probe.evaluation.grading import Grading, grade, metric_of
from probe.evaluation.methods.entrants import Entrant
from probe.evaluation.methods.records import Candidate, TunedOn
from probe.evaluation.methods.runs import Refused
from probe.evaluation.session import Given, Session
from probe.trials.answers import greedy_answer, read_answer
from probe.trials.try_plans import replayed

DIGITS = 9
"""Scores that differ by less than rounding are equal."""


class TuningSet(NamedTuple):
    """The samples to tune on."""

    samples: Sequence[Sample]
    data: str = ""
    """Name or path of the data, as the user gave it."""
    seed: int = 0
    """Seed with which they were drawn."""


class Trial(Record):
    """One tuning sample under every setting."""

    id: str
    family: str
    full: float
    """Grade of the full model's answer."""
    grades: dict[str, float]
    """Key of an entrant -> grade of its answer."""
    log_likelihoods: dict[str, float]
    """Key of an entrant -> mean log-probability of the full model's answer, nats per token."""
    failures: dict[str, str] = {}
    """Key of an entrant that could not be run on this sample, nor on later ones -> reason."""


class Tuned(NamedTuple):
    """The outcome of tuning."""

    entrants: list[Entrant]
    """One for each method and budget, with what was tried."""
    on: TunedOn


def tuning_journal(journal: Path) -> Path:
    """The journal of the tuning beside that of the comparison."""
    return journal.with_name(f"{journal.name}.tuning")


class Tuner:
    """Runs tuning samples under all settings, one sample after the other."""

    def __init__(
        self,
        model: PreTrainedModel,
        processor: PromptProcessor,
        grading: Grading,
        max_new_tokens: int,
        family: Family | None = None,
    ) -> None:
        self._model = model
        self._processor = processor
        self._grading = grading
        self._max_new_tokens = max_new_tokens
        self._family = family

    def tune(
        self,
        entrants: Sequence[Entrant],
        tuning: TuningSet,
        *,
        model_id: str = "",
        journal: Path | None = None,
        on_progress: OnProgress | None = None,
        data_parallel: DataParallel = ALONE,
    ) -> Tuned:
        """Choose one of the entrants of each method at each budget.

        Args:
            entrants: those of one method at one budget stand next to each other. Where there is but the method's
                default, there is nothing to choose.
            tuning: the samples.
            model_id: recorded in the journal.
            journal: file in which finished samples are stored, and from which an interrupted run resumes. It is not
                deleted.
            data_parallel: the processes that share the samples, all of which call this.

        Raises:
            DataError: no samples, a sample without a reference answer, or one that cannot be graded with this metric.
            HalfVError: the journal belongs to other work.
        """
        check_references(tuning.samples)
        for sample in tuning.samples:
            metric_of(sample, self._grading)
        groups = [tuple(group) for _, group in groupby(entrants, key=lambda one: one.label)]
        tried = [one for group in groups if _is_open(group) for one in group]
        report = on_progress or (lambda step, done, total: None)
        session = Session(
            self._model,
            tuning.samples,
            Given(model_id, data=tuning.data),
            grading=self._grading,
            max_new_tokens=self._max_new_tokens,
            seed=tuning.seed,
        )
        trials = session.measured(
            Trial,
            lambda _, some, earlier: self._try(some[0], tried, earlier),
            identity={"settings": {one.key: one.plan.model_dump(mode="json") for one in tried}},
            journal=journal,
            ranks=parts_of(self._model, self._family).ranks,
            on_progress=lambda _, done, total: report("tuning", done, total),
            data_parallel=data_parallel,
        )
        trials = _without_failed(trials)

        def tuned() -> Tuned:
            chosen = [_best(group, trials) if _is_open(group) else group[0] for group in groups]
            return Tuned(chosen, _tuned_on(tuning, trials))

        return data_parallel.of_first(tuned)

    def _try(self, sample: Sample, entrants: Sequence[Entrant], earlier: Sequence[Trial]) -> Trial:
        """One sample under every setting that has not failed yet."""
        failed = {key for trial in earlier for key in trial.failures}
        inputs = inputs_of(self._processor, sample, device_of(self._model))
        answer = greedy_answer(self._model, inputs, self._max_new_tokens)
        full = self._grade(sample, answer)
        replay = Replay(self._model, inputs, family=self._family)
        grades, likelihoods, failures = {}, {}, {}
        for one in entrants:
            if one.key in failed:
                continue
            try:
                with replayed(replay, one.plan), apply(self._model, one.plan, family=self._family):
                    reading = read_answer(self._model, inputs, answer)
                    own = answer if reading.agrees else greedy_answer(self._model, inputs, self._max_new_tokens)
            except (*Refused, DataError) as error:
                failures[one.key] = f"sample '{sample.id}': {error}"
                continue
            grades[one.key] = full if reading.agrees else self._grade(sample, own)
            likelihoods[one.key] = reading.log_likelihood
        return Trial(
            id=sample.id,
            family=question_family(sample),
            full=full,
            grades=grades,
            log_likelihoods=likelihoods,
            failures=failures,
        )

    def _grade(self, sample: Sample, answer: torch.Tensor) -> float:
        return grade(sample, self._processor.decode(answer), self._grading).value


def _without_failed(trials: Sequence[Trial]) -> list[Trial]:
    """The trials as if no setting had been tried after its first failure, in whatever order they ran."""
    failed: set[str] = set()
    found = []
    for one in trials:
        kept = {
            name: {key: value for key, value in getattr(one, name).items() if key not in failed}
            for name in ("grades", "log_likelihoods", "failures")
        }
        found.append(one.model_copy(update=kept))
        failed |= kept["failures"].keys()
    return found


def _tuned_on(tuning: TuningSet, trials: Sequence[Trial]) -> TunedOn:
    return TunedOn(
        data=tuning.data,
        data_fingerprint=data_fingerprint(tuning.samples),
        samples=len(trials),
        sample_ids=tuple(one.id for one in trials),
        seed=tuning.seed,
        accuracy=family_mean([one.full for one in trials], [one.family for one in trials]),
        runs=sum(len(one.grades) for one in trials),
    )


def _is_open(group: Sequence[Entrant]) -> bool:
    """Whether there is a choice at a budget, or the only setting within reach is not the default one."""
    return group[0].budget is not None and (len(group) > 1 or bool(group[0].setting))


def _best(group: Sequence[Entrant], trials: Sequence[Trial]) -> Entrant:
    """The best setting, with all that were tried; the first one if all of them failed."""
    failures = {key: reason for one in trials for key, reason in one.failures.items()}
    candidates = tuple(_candidate(one, trials, failures.get(one.key)) for one in group)
    ran = [index for index, one in enumerate(candidates) if one.failure is None]
    best = max(ran, key=lambda index: _standing(candidates[index]), default=0)
    return group[best]._replace(candidates=candidates)


def _candidate(one: Entrant, trials: Sequence[Trial], failure: str | None) -> Candidate:
    if failure is not None:
        return Candidate(setting=one.setting, plan=one.plan, accuracy=None, log_likelihood=None, failure=failure)
    return Candidate(
        setting=one.setting,
        plan=one.plan,
        accuracy=family_mean([trial.grades[one.key] for trial in trials], [trial.family for trial in trials]),
        log_likelihood=fmean(trial.log_likelihoods[one.key] for trial in trials),
    )


def _standing(candidate: Candidate) -> tuple[float, float]:
    return round(candidate.accuracy or 0.0, DIGITS), candidate.log_likelihood or 0.0
