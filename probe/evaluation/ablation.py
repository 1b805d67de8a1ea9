"""ablate(): what each part of a profile's plan contributes, measured on the same samples in one run.

ablation = ablate(model, processor, samples, profile)
ablation.variants["ivr+ssr"].retention
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import JsonValue
from transformers import PreTrainedModel

from halfv_core.families import Family, parts_of
from halfv_core.files import write_atomically
from halfv_core.processors import PromptProcessor
from halfv_core.profile import Profile
from probe.common.data_parallel import ALONE, DataParallel
from probe.common.progress import OnProgress
from probe.data.samples import Sample
from probe.evaluation.comparison import Comparer
from probe.evaluation.conditions import Conditions
from probe.evaluation.evaluate import check_references
from probe.evaluation.grading import Grading, metric_of
from probe.evaluation.outcomes import Comparison, Summary, summarise
from probe.evaluation.session import Given, Session
from probe.evaluation.variants import Variants, variants_of
from probe.trials.proofs import admit


class Ablation(Conditions):
    """The result of `halfv-probe evaluate`."""

    schema_version: Literal[1] = 1
    variants: dict[str, Summary]
    missing: dict[str, str]
    """Variant that the profile does not have -> the reason."""
    comparisons: tuple[Comparison, ...]

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
    data_parallel: DataParallel = ALONE,
) -> Ablation:
    """Answer every sample under every variant of the profile's plan.

    Args:
        variants: the variants to run; by default all that the profile has.
        grading: metric for the answers.
        seed: seed of the bootstrap.
        model_id, profile_id, data, arguments: recorded in the result.
        family: description of the model, if no registered family fits.
        journal: file in which finished samples are stored, and from which an interrupted run resumes. It is not
            deleted; do that once the result is saved. Further processes have files beside it.
        data_parallel: the processes that share the samples. All of them call this with the same arguments and get the
            same result, which is that of one process, times apart.

    Raises:
        DataError: no samples, a sample without a reference answer, or one that cannot be graded with this metric.
        ProfileError: the profile was made for another model.
        HalfVError: the journal belongs to other work.
    """
    check_references(samples)
    for sample in samples:
        metric_of(sample, grading)
    profile.check_model(model.config)
    admit(model, processor, family=family)
    variants = variants or variants_of(profile)
    given = Given(model_id, profile_id, data, arguments or {})
    session = Session(model, samples, given, grading=grading, max_new_tokens=max_new_tokens, seed=seed)
    with data_parallel.together():
        comparer = Comparer(model, processor, variants.plans, grading, max_new_tokens, family)
        comparisons = session.measured(
            Comparison,
            lambda index, samples, _: comparer.compare(index, samples[0]),
            identity={"plans": {name: plan.model_dump(mode="json") for name, plan in variants.plans.items()}},
            journal=journal,
            ranks=parts_of(model, family).ranks,
            on_progress=on_progress,
            data_parallel=data_parallel,
        )
        return data_parallel.of_first(
            lambda: Ablation(
                **session.conditions(profile).model_dump(),
                variants=summarise(variants.plans, comparisons, seed),
                missing=variants.missing,
                comparisons=tuple(comparisons),
            )
        )
