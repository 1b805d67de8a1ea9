"""Runs samples under every plan of a comparison, and records answers, grades, costs and times."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any, NamedTuple

from transformers import PreTrainedModel

from halfv_core.cost import Cost
from halfv_core.errors import ModelError, PlanError, UnsupportedError
from halfv_core.families import Family, parts_of
from halfv_core.placement import device_of
from halfv_core.plan import Plan
from halfv_core.processors import Inputs, PromptProcessor
from halfv_core.records import Record
from halfv_core.runtime import apply
from halfv_core.runtime.patching import Forward, Wrap, wrapped
from halfv_core.runtime.run import Run
from probe.common.stopwatch import Stopwatch
from probe.data.inputs import inputs_of
from probe.data.samples import Sample
from probe.evaluation.evaluate import question_family
from probe.evaluation.flops import OutsideFlops
from probe.evaluation.grading import Grading, Metric, grade, metric_of
from probe.evaluation.methods.entrants import Entrant
from probe.evaluation.variants import FULL
from probe.trials.answers import greedy_answers
from probe.trials.batches import batches
from probe.trials.choosing_time import timed_choosing

Refused = (ModelError, PlanError, UnsupportedError)
"""What a plan that does not suit a model or a prompt raises."""


class Outcome(Record):
    """The samples of a batch under one plan."""

    answers: tuple[str, ...]
    """The greedy answers."""
    grades: tuple[float, ...]
    """How right the answers are, 0..1."""
    cost: Cost
    """Of the prompts, all samples together."""
    prefill_seconds: float
    """Time of the decoder's pass over all prompts, selection included; the vision tower is not."""
    selection_seconds: float
    """Part of it: choosing and dropping tokens."""


class Batch(Record):
    """Some samples under every plan."""

    ids: tuple[str, ...]
    families: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]
    gradings: tuple[Metric, ...]
    outside_flops: int
    """FLOPs of the prefills outside the decoder's layers: vision tower, projector, LM head."""
    outcomes: dict[str, Outcome]
    """Key of an entrant -> outcome."""
    failures: dict[str, str] = {}
    """Key of an entrant that could not be run on these samples, nor on later ones -> reason."""


class Runner:
    """Runs samples under all plans, one plan after the other; of the samples it keeps no tensors."""

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
        parts = parts_of(model, family)
        self._core, self._decoder = parts.core, parts.decoder
        self._outside_flops = OutsideFlops(model, family)

    def try_out(self, entrants: Sequence[Entrant], samples: Sequence[Sample]) -> dict[str, str]:
        """Run samples under all plans, so that kernels are warm later; key -> reason for those that cannot be."""
        return self.run(0, entrants, samples).failures

    def run(self, index: int, entrants: Sequence[Entrant], samples: Sequence[Sample]) -> Batch:
        """Run samples under all plans; another one comes first each time, to spread what the machine does.

        Args:
            index: number of the batch, which determines the first plan.

        Raises:
            DataError: an image cannot be opened.
        """
        device = device_of(self._model)
        prompts = [inputs_of(self._processor, sample, device) for sample in samples]
        together = [
            Together(rows, inputs, TowerOutputs(self._core))
            for rows, inputs in batches(prompts, self._processor.tokenizer.pad_token_id or 0)
        ]
        first = index % len(entrants)
        outcomes, failures = {}, {}
        for entrant in (*entrants[first:], *entrants[:first]):
            try:
                outcomes[entrant.key] = self._outcome(samples, together, entrant.plan)
            except Refused as error:
                if entrant.key == FULL:
                    raise
                failures[entrant.key] = f"{_named(samples)}: {error}"
        return Batch(
            ids=tuple(sample.id for sample in samples),
            families=tuple(map(question_family, samples)),
            references=tuple(sample.answers for sample in samples),
            gradings=tuple(metric_of(sample, self._grading) for sample in samples),
            outside_flops=sum(self._outside_flops(one.inputs) for one in together),
            outcomes={one.key: outcomes[one.key] for one in entrants if one.key in outcomes},
            failures=failures,
        )

    def _outcome(self, samples: Sequence[Sample], together: Sequence["Together"], plan: Plan) -> Outcome:
        prefill, choosing = (Stopwatch(device_of(self._model)) for _ in range(2))
        answers = [""] * len(samples)
        costs: list[Cost] = []
        for one in together:
            with (
                one.tower.remembered(plan),
                apply(self._model, plan, family=self._family) as run,
                wrapped([Wrap(self._decoder, "forward", partial(_prefill, prefill, run, costs))], plan=False),
                timed_choosing(choosing),
            ):
                found = greedy_answers(self._model, one.inputs, self._max_new_tokens)
            for row, ids in zip(one.rows, found, strict=True):
                answers[row] = self._processor.decode(ids)
        pairs = zip(samples, answers, strict=True)
        return Outcome(
            answers=tuple(answers),
            grades=tuple(grade(sample, answer, self._grading).value for sample, answer in pairs),
            cost=sum(costs[1:], start=costs[0]),
            prefill_seconds=prefill.seconds,
            selection_seconds=choosing.seconds,
        )


class Together(NamedTuple):
    """Samples of a batch whose prompts run together."""

    rows: list[int]
    """Their places in the batch."""
    inputs: Inputs
    tower: "TowerOutputs"


def _named(samples: Sequence[Sample]) -> str:
    last = f" to '{samples[-1].id}'" if len(samples) > 1 else ""
    return f"sample '{samples[0].id}'{last}"


class TowerOutputs:
    """What the vision tower makes of the same inputs under all plans: it is computed once, since no plan changes it."""

    METHODS = ("get_image_features", "get_video_features")

    def __init__(self, core: Any) -> None:
        self._core = core
        self._known: dict[str, list[Any]] = {}

    @contextmanager
    def remembered(self, plan: Plan) -> Iterator[None]:
        """In the block, take the tower's outputs from an earlier run, if there was one.

        Plans that look into the tower run it.
        """
        if plan.reads() & {"vision", "grids"}:
            yield
            return
        inside = False
        calls = dict.fromkeys(self.METHODS, 0)

        def around(name: str, features: Forward) -> Forward:
            @wraps(features)
            def run(*args: Any, **kwargs: Any) -> Any:
                nonlocal inside
                if inside:  # Qwen3-VL takes videos through the method for images
                    return features(*args, **kwargs)
                known = self._known.setdefault(name, [])
                calls[name] += 1
                if len(known) < calls[name]:
                    inside = True
                    try:
                        known.append(features(*args, **kwargs))
                    finally:
                        inside = False
                return known[calls[name] - 1]

            return run

        names = [name for name in self.METHODS if hasattr(self._core, name)]
        with wrapped([Wrap(self._core, name, partial(around, name)) for name in names], plan=False):
            yield


def _prefill(watch: Stopwatch, run: Run, costs: list[Cost], forward: Forward) -> Forward:
    """Time the decoder's first call, the prefill, and note what it cost."""
    called = False

    @wraps(forward)
    def first(*args: Any, **kwargs: Any) -> Any:
        nonlocal called
        if called:
            return forward(*args, **kwargs)
        called = True
        with watch.running():
            output = forward(*args, **kwargs)
        costs.append(run.cost)
        return output

    return first
