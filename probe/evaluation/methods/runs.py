"""Runs one sample under every plan of a comparison, and records answers, grades, costs and times."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

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
from probe.common.stopwatch import Stopwatch
from probe.data.samples import Sample
from probe.evaluation.evaluate import question_family
from probe.evaluation.flops import OutsideFlops
from probe.evaluation.grading import Grading, Metric, grade, metric_of
from probe.evaluation.methods.entrants import Entrant
from probe.evaluation.variants import FULL
from probe.trials.answers import greedy_answer
from probe.trials.choosing_time import timed_choosing

Refused = (ModelError, PlanError, UnsupportedError)
"""What a plan that does not suit a model or a prompt raises."""


class Outcome(Record):
    """One sample under one plan."""

    answer: str
    """The greedy answer."""
    grade: float
    """How right the answer is, 0..1."""
    cost: Cost
    prefill_seconds: float
    """Time of the decoder's pass over the prompt, selection included; the vision tower is not."""
    selection_seconds: float
    """Part of it: choosing and dropping tokens."""


class Answered(Record):
    """One sample under every plan."""

    id: str
    family: str
    references: tuple[str, ...]
    grading: Metric
    outside_flops: int
    """FLOPs of the prefill outside the decoder's layers: vision tower, projector, LM head."""
    outcomes: dict[str, Outcome]
    """Key of an entrant -> outcome."""
    failures: dict[str, str] = {}
    """Key of an entrant that could not be run on this sample, nor on later ones -> reason."""


class Runner:
    """Runs samples under all plans, one after the other; of a sample it keeps no tensors."""

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
        self._outside_flops = OutsideFlops(model, family)
        self._tower = TowerOutputs(parts_of(model, family).core)

    def try_out(self, entrants: Sequence[Entrant], sample: Sample) -> dict[str, str]:
        """Run one sample under all plans, so that kernels are warm later; key -> reason for those that cannot be."""
        return self.run(0, entrants, sample).failures

    def run(self, index: int, entrants: Sequence[Entrant], sample: Sample) -> Answered:
        """Run one sample under all plans; another one comes first each time, to spread what the machine does.

        Args:
            index: position of the sample, which determines the first plan.

        Raises:
            DataError: an image cannot be opened.
        """
        inputs = self._processor.prompt(sample.open_images(), sample.prompt, device_of(self._model))
        self._tower.forget()
        first = index % len(entrants)
        outcomes, failures = {}, {}
        for entrant in (*entrants[first:], *entrants[:first]):
            try:
                outcomes[entrant.key] = self._outcome(sample, inputs, entrant.plan)
            except Refused as error:
                if entrant.key == FULL:
                    raise
                failures[entrant.key] = f"sample '{sample.id}': {error}"
        self._tower.forget()
        return Answered(
            id=sample.id,
            family=question_family(sample),
            references=sample.answers,
            grading=metric_of(sample, self._grading),
            outside_flops=self._outside_flops(inputs),
            outcomes={one.key: outcomes[one.key] for one in entrants if one.key in outcomes},
            failures=failures,
        )

    def _outcome(self, sample: Sample, inputs: Inputs, plan: Plan) -> Outcome:
        prefill, choosing = (Stopwatch(device_of(self._model)) for _ in range(2))
        decoder = parts_of(self._model, self._family).decoder
        timed = Wrap(decoder, "forward", partial(_first_call, prefill))
        with (
            self._tower.remembered(plan),
            apply(self._model, plan, family=self._family) as run,
            wrapped([timed], plan=False),
            timed_choosing(choosing),
        ):
            answer = self._processor.decode(greedy_answer(self._model, inputs, self._max_new_tokens))
        return Outcome(
            answer=answer,
            grade=grade(sample, answer, self._grading).value,
            cost=run.cost,
            prefill_seconds=prefill.seconds,
            selection_seconds=choosing.seconds,
        )


class TowerOutputs:
    """What the vision tower makes of one prompt: it is computed once, since no plan changes it."""

    METHODS = ("get_image_features", "get_video_features")

    def __init__(self, core: Any) -> None:
        self._core = core
        self._known: dict[str, list[Any]] = {}

    def forget(self) -> None:
        """Another prompt follows."""
        self._known = {}

    @contextmanager
    def remembered(self, plan: Plan) -> Iterator[None]:
        """In the block, take the tower's outputs from an earlier run of the same prompt, if there was one.

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


def _first_call(watch: Stopwatch, forward: Forward) -> Forward:
    """Time the first call, which is the prefill."""
    called = False

    @wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        nonlocal called
        if called:
            return forward(*args, **kwargs)
        called = True
        with watch.running():
            return forward(*args, **kwargs)

    return run
