"""analyze(): run probes on samples.

    model, processor, name = load_model("tiny-qwen2.5-vl")
    analysis = analyze(model, processor, load_samples("scenes"), probes=["shares"], model_id=name, data="scenes")

Each sample is measured by all probes at once, and may be skipped, stored and restored as in a calibration. With a
budget, as many samples are measured as fit into it.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue
from transformers import PreTrainedModel

from halfv_core.errors import DataError
from halfv_core.families import Family, parts_of
from halfv_core.processors import PromptProcessor
from halfv_core.profile import Profile
from probe.analysis.partners import partners_of
from probe.analysis.records import Analysis
from probe.analysis.step import ProbeSamples
from probe.analyzers import one_run, variants  # noqa: F401 - they register probes
from probe.analyzers.probe import PROBES
from probe.calibration.budget.budget import MIN_SAMPLES
from probe.calibration.identity import Identity
from probe.calibration.provenance import provenance_of
from probe.calibration.step_runner import Limit, StepRunner
from probe.calibration.steps.examples import choose_examples
from probe.calibration.steps.step import ProbedModel
from probe.common.data_parallel import ALONE, DataParallel
from probe.common.journals import opened
from probe.common.progress import OnProgress
from probe.data.draw import draw_readable
from probe.data.samples import Sample, check_enough
from probe.trials.proofs import admit

ALL = "all"


def chosen_probes(names: Sequence[str]) -> tuple[str, ...]:
    """The probes with these names, each once; all of them, by name, for `all` or for no name.

    Raises:
        HalfVError: an unknown name.
    """
    if not names or ALL in names:
        return tuple(sorted(PROBES))
    for name in names:
        PROBES[name]  # refuses an unknown one
    return tuple(dict.fromkeys(names))


def analyze(
    model: PreTrainedModel,
    processor: PromptProcessor,
    samples: Sequence[Sample],
    *,
    probes: Sequence[str] = (),
    count: int = 100,
    seed: int = 0,
    examples: int = 6,
    max_new_tokens: int = 32,
    budget: float | None = None,
    profile: Profile | None = None,
    model_id: str = "",
    data: str = "",
    arguments: Mapping[str, JsonValue] | None = None,
    family: Family | None = None,
    journal: Path | None = None,
    on_progress: OnProgress | None = None,
    data_parallel: DataParallel = ALONE,
) -> Analysis:
    """Measure a model with probes on samples.

    Args:
        samples: the samples to draw from; those that cannot be used are skipped.
        probes: registered names; by default all.
        count: number of samples to draw.
        examples: number of samples whose images and maps are kept, from as many question families as possible.
        max_new_tokens: longest answer that probes follow.
        budget: seconds; no further sample is measured when the next one would exceed them, but at least 10 are.
        profile: a calibration of this model, whose stages are drawn beside what the probes found.
        model_id, data, arguments: recorded in the result.
        family: a description of the model, if no registered family fits it.
        journal: a file that stores finished samples, so that an interrupted run continues where it stopped. It is not
            deleted. Further processes have files beside it (see `probe.common.journals`).
        on_progress: called as samples are finished, in the first process.
        data_parallel: the processes that share the samples. All of them call this with the same arguments and get the
            same result, which is that of one process, times apart.

    Raises:
        DataError: no samples, too few that can be opened and measured, or two with the same id.
        ModelError: the model cannot be probed.
        ProfileError: the profile was made for another model.
        HalfVError: an unknown probe, or the journal belongs to other work.
    """
    started = time.monotonic()
    names = chosen_probes(probes)
    if profile is not None:
        profile.check_model(model.config)
    admit(model, processor, family=family)
    parts = parts_of(model, family)

    def most(_: str, measured: int) -> int | None:
        if budget is None or measured < MIN_SAMPLES:
            return None
        elapsed = time.monotonic() - started
        enough: bool = parts.ranks.agreed_value(elapsed + data_parallel.size * elapsed / measured > budget)
        return measured if enough else None

    with data_parallel.together():
        drawn, unreadable = draw_readable(samples, count, seed)
        if len({sample.id for sample in drawn}) < len(drawn):
            raise DataError("ids of samples must differ", got="one more than once")
        shown = frozenset(sample.id for sample in choose_examples(drawn[:MIN_SAMPLES], (), examples))
        pairs = any(PROBES[name].pairs for name in names)
        step = ProbeSamples(names, max_new_tokens, shown, partners_of(drawn) if pairs else {})
        identity = Identity.of(model, processor, drawn, model_id)
        key = identity.key({"probes": ",".join(names), "examples": len(shown), "max_new_tokens": max_new_tokens})
        data_parallel.check_same(key, but="device")
        with opened(journal, key, parts.ranks, data_parallel) as records:
            runner = StepRunner(ProbedModel(model, processor, family), records, on_progress, data_parallel)
            if not data_parallel.is_first:
                return runner.serve(drawn, Analysis)
            items = runner.measure_all(step, drawn, limit=None if budget is None else Limit(most))
            check_enough("samples", len(items), runner.rejected, "give samples that the model can be measured on")
        found = step.combine(items)
        left_out = len(drawn) - len(runner.rejected) - len(items)
        resolved: dict[str, JsonValue] = {"probes": list(names), "samples": count, "examples": examples}
        provenance = provenance_of(
            samples,
            unreadable,
            identity,
            runner,
            sample_ids=found.sample_ids,
            data=data,
            seed=seed,
            arguments=arguments or {},
            resolved=resolved | {"max_new_tokens": max_new_tokens},
            seconds=time.monotonic() - started,
            dropped=(f"the last {left_out} samples, to stay within the budget",) if left_out else (),
        )
        return runner.finish(
            Analysis(
                layers=len(parts.layers),
                stages=None if profile is None else profile.stages,
                results=found.results,
                examples=found.examples,
                provenance=provenance,
            )
        )
