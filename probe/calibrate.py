"""calibrate(): from a model and samples to a profile; the only place where the steps of a calibration are put in order.

model, processor, name = load_model("tiny-qwen2.5-vl")
profile = calibrate(model, processor, load_samples("scenes"), model_id=name, data="scenes")
"""

import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from transformers import PreTrainedModel

from halfv_core.cost import DecoderShape
from halfv_core.errors import DataError, first_fault
from halfv_core.families import Family
from halfv_core.plan import Option, Plan
from halfv_core.processors import PromptProcessor
from halfv_core.profile import Profile, Provenance, PruningTest, Saturation, Stages, config_fingerprint
from halfv_core.selectors import make_selector
from probe.analyzers.layer_redundancy import layer_redundancy
from probe.analyzers.saturation import Case, Quality, Readings, Thresholds, classify_saturation, read_cases
from probe.analyzers.tme import entropy, spectra
from probe.answers import Inputs, greedy_answer, read_answer
from probe.build import Measurements, candidate_plans, expected
from probe.capture import capture
from probe.draw import draw_readable, hold_out
from probe.progress import OnProgress, counter
from probe.samples import SHOWN, Sample, Samples, data_fingerprint
from probe.stages import detect_stages
from probe.uncertainty import stage_uncertainty

_PACKAGES = ("halfv-probe", "torch", "transformers", "nnsight", "numpy")


class Settings(BaseModel):
    """What a calibration can be asked for; every field is an option of `halfv-probe calibrate`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: int = Field(default=100, ge=2)
    """Samples drawn from the data."""
    held_out: float = Field(default=0.2, ge=0.0, le=0.9)
    """Share of them kept apart, to see what the finished plan does to prompts that it was not chosen on."""
    seed: int = 0
    entropy_k: int = Field(default=50, ge=1)
    """Eigenvalues in the truncated matrix entropy."""
    keep_ratios: tuple[Annotated[float, Field(gt=0.0, le=1.0)], ...] = (0.1, 0.25, 0.5, 0.75)
    """Shares to try for the pruning at Stage II, the smallest safe one wins."""
    selector: str = "anchor_coverage"
    """Selector of the pruning at Stage II."""
    options: dict[str, Option] = {}
    """Options of the selector; those not named take the selector's defaults and are written out in the plan."""
    top_share: float = Field(default=0.05, gt=0.0, le=1.0)
    """Share of the visual tokens that `token_sparsity` keeps in Stage III."""
    min_agreement: float = Field(default=0.95, ge=0.0, le=1.0)
    """Agreement with the full model's answers from which on a plan is safe."""
    max_log_likelihood_drop: float = Field(default=0.05, ge=0.0)
    """Fall in the log-likelihood of those answers, nats a token, up to which a plan is safe."""
    max_new_tokens: int = Field(default=32, ge=1)
    """Longest answer of the full model that is compared."""

    @model_validator(mode="before")
    @classmethod
    def _write_out_options(cls, values: dict[str, Any]) -> dict[str, Any]:
        selector = make_selector(values.get("selector", "anchor_coverage"), values.get("options", {}))
        return values | {"options": asdict(selector)}

    @classmethod
    def from_user(cls, **given: object) -> "Settings":
        """Settings from options, where None stands for the default.

        Raises:
            DataError: a value out of range.
        """
        try:
            return cls.model_validate({name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            raise DataError(f"bad setting: {first_fault(error)}") from None

    @property
    def thresholds(self) -> Thresholds:
        """When a plan counts as safe."""
        return Thresholds(self.min_agreement, self.max_log_likelihood_drop)


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
    on_progress: OnProgress | None = None,
) -> Profile:
    """Measure a model on samples and write down what was learnt.

    Args:
        samples: all there are; `settings.samples` of them are drawn, those whose images cannot be opened passed over.
        model_id, data: names for the profile's provenance; `arguments` are those the user typed, likewise.
        family: description of the model when no registered one fits.
        on_progress: told about each step.

    Raises:
        DataError: too few samples, or too few with images that can be opened.
        ModelError: a model that cannot be probed.
    """
    began = time.monotonic()
    drawn, unreadable = draw_readable(samples, settings.samples, settings.seed)
    measured_on, kept_apart = hold_out(drawn, settings.held_out)
    if len(measured_on) < 2:
        raise DataError("too few samples to calibrate on", got=len(measured_on), expected="2 or more")
    rejected = [*(samples.rejected if isinstance(samples, Samples) else ()), *unreadable]
    study = _Study(model, processor, settings, family, on_progress or (lambda step, done, total: None))
    measurements, cases = study.measure(measured_on)
    curves = measurements.curves()
    stages = detect_stages(curves.visual.mean, curves.text.mean, curves.kl.mean)
    uncertainty = stage_uncertainty(measurements, settings.seed)
    saturation = study.classify(cases, stages.saturation_start)
    tests = study.choose_plan(cases, measurements, stages, saturation)
    plan = tests[-1].plan
    unseen = study.check(study.cases("held-out answers", kept_apart), plan)
    return Profile(
        plan=plan,
        stages=stages,
        saturation=saturation,
        pruning_tests=tests,
        curves=curves,
        expected=expected(plan, study.shape, measurements, len(kept_apart), *(unseen or (None, None))),
        provenance=Provenance(
            model_id=model_id or str(model.config.name_or_path),
            model_type=model.config.model_type,
            config_fingerprint=config_fingerprint(model.config),
            data=data,
            data_columns=samples.columns.given() if isinstance(samples, Samples) else {},
            data_fingerprint=data_fingerprint(drawn),
            rejected=len(rejected),
            rejected_first=tuple(map(str, rejected[:SHOWN])),
            sample_ids=tuple(sample.id for sample in measured_on),
            held_out_ids=tuple(sample.id for sample in kept_apart),
            image_processor=processor.image_limits(),
            seed=settings.seed,
            arguments_given=arguments or {},
            arguments_resolved=settings.model_dump(mode="json"),
            versions={"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
            device=str(model.device),
            dtype=str(model.dtype).removeprefix("torch."),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - began, 1),
        ),
        uncertainty=uncertainty,
    )


class _Study:
    """One calibration under way: the model, the settings, and the steps that run the model."""

    def __init__(
        self,
        model: PreTrainedModel,
        processor: PromptProcessor,
        settings: Settings,
        family: Family | None,
        on_progress: OnProgress,
    ) -> None:
        self._model = model
        self._processor = processor
        self._settings = settings
        self._family = family
        self._on_progress = on_progress
        value_bytes = next(model.parameters()).element_size()
        self.shape = DecoderShape.of(model.config.get_text_config(), value_bytes)

    def measure(self, samples: Sequence[Sample]) -> tuple[Measurements, list[Case]]:
        """Curves, redundancy and full answers, sample by sample."""
        found, cases = Measurements(entropy_k=self._settings.entropy_k), []
        on_sample = counter(self._on_progress, "curves", len(samples))
        for sample in samples:
            self._add_curves(found, self._inputs(sample))
            cases.append(self._case(sample))
            on_sample()
        return found, cases

    def _add_curves(self, found: Measurements, inputs: Inputs) -> None:
        states = capture(self._model, inputs, family=self._family)
        groups = spectra(states.hidden, states.visual, k=found.entropy_k)
        found.visual.append(entropy(groups.visual).numpy())
        found.text.append(entropy(groups.text).numpy())
        found.joint.append(entropy(groups.joint).numpy())
        found.spectrum.append(groups.visual.numpy())
        found.kl.append(layer_redundancy(self._model, inputs, family=self._family).cpu().numpy())
        found.visual_tokens.append(int(states.visual.sum()))
        found.text_tokens.append(int((~states.visual).sum()))

    def cases(self, step: str, samples: Sequence[Sample]) -> list[Case]:
        """The full model's answers."""
        found, on_sample = [], counter(self._on_progress, step, len(samples))
        for sample in samples:
            found.append(self._case(sample))
            on_sample()
        return found

    def _case(self, sample: Sample) -> Case:
        inputs = self._inputs(sample)
        answer = greedy_answer(self._model, inputs, self._settings.max_new_tokens)
        likelihood = read_answer(self._model, inputs, answer).log_likelihood
        return Case(partial(self._inputs, sample), answer, likelihood)

    def _inputs(self, sample: Sample) -> Inputs:
        return self._processor.prompt(sample.open_images(), sample.prompt, self._model.device)

    def classify(self, cases: Sequence[Case], saturation_start: int | None) -> Saturation:
        """The two causal tests of Stage III."""
        return classify_saturation(
            self._model,
            cases,
            saturation_start,
            top_share=self._settings.top_share,
            thresholds=self._settings.thresholds,
            family=self._family,
            on_case=counter(self._on_progress, "Stage III tests", 2 * len(cases)),
            seed=self._settings.seed,
        )

    def choose_plan(
        self, cases: Sequence[Case], found: Measurements, stages: Stages, saturation: Saturation
    ) -> tuple[PruningTest, ...]:
        """Whole plans, cheapest first, until one is safe; the last of them is the answer."""
        tests: list[PruningTest] = []
        plans = candidate_plans(
            stages,
            saturation,
            self.shape.layers,
            self._settings.keep_ratios,
            selector=self._settings.selector,
            options=self._settings.options,
            top_share=self._settings.top_share,
        )
        for plan in plans:
            readings, thresholds = self._read("keep ratio", plan, cases), self._settings.thresholds
            measured = readings.quality()
            tests.append(
                PruningTest(
                    plan=plan,
                    flops_ratio=expected(plan, self.shape, found, 0, None, None).flops_ratio,
                    safe=measured.within(thresholds),
                    safe_share=readings.safe_share(thresholds, self._settings.seed),
                    **measured._asdict(),
                )
            )
            if tests[-1].safe:
                break
        return tuple(tests)

    def check(self, cases: Sequence[Case], plan: Plan) -> Quality | None:
        """The finished plan on samples that it was not chosen on; None without any."""
        return self._read("held-out", plan, cases).quality() if cases else None

    def _read(self, step: str, plan: Plan, cases: Sequence[Case]) -> Readings:
        on_case = counter(self._on_progress, step, len(cases))
        return read_cases(self._model, plan, cases, family=self._family, on_case=on_case)
