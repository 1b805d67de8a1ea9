"""Do pretrained decoders behave alike? Stages, treatments of Stage III and curves, model by model.

    make backbones MODELS="runs/smollm2 runs/qwen2.5"      # folders that data_samples.making.backbones.join wrote

Each model answers held-out scenes with their pictures and with blank ones, is calibrated on 100 scenes, and is then
treated from every layer on, as Stage III is: frozen, thinned out, or without visual tokens. The bundled models beside
them have been calibrated by `make results`. A model that does not need its picture is refused. Writes a file for each
model into data_samples/backbones, which the tables of docs/backbones.md come from. What is recorded there is not run
again, and a run that was stopped goes on.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple

import numpy as np
import torch
import typer
from numpy.typing import ArrayLike
from PIL import Image

from cli.common import load_quietly, progress_bar, stdout
from data_samples.studies.backbones_records import RECORDS, Backbone, Estimate, Treated, read_records
from data_samples.studies.backbones_tables import write_tables
from data_samples.studies.results import PROFILES
from halfv_core.errors import HalfVError, ModelError
from halfv_core.files import read_text, write_atomically
from halfv_core.models import bundled_models
from halfv_core.plan import Plan
from halfv_core.profile import Profile
from halfv_core.records import CausalTreatment
from probe import load_samples
from probe.analyzers.causal_curves import TREATMENTS, CausalLosses, treatment_plan
from probe.calibration.calibrate import Calibrated, calibrate_in_full
from probe.calibration.identity import Identity
from probe.calibration.observations import Observations, beside
from probe.calibration.settings import Settings
from probe.calibration.step_runner import StepRunner
from probe.calibration.steps.answer import Answer, full_model_answer
from probe.calibration.steps.causal_curves import CausalCurvesAt
from probe.calibration.steps.step import ProbedModel
from probe.common.journal import Journal
from probe.common.journals import discard
from probe.common.progress import OnProgress, counter
from probe.common.resamples import with_replacement
from probe.data.samples import Sample
from probe.evaluation.evaluate import Evaluation, evaluate

JOURNALS = Path("runs/backbones")
RECIPE = "recipe.json"
"""File in the folder of a joined model."""
NEEDED = 0.2
"""A model needs its picture if blank ones lower its accuracy by at least this."""
MAX_NEW_TOKENS = 32
GREY = (128, 128, 128)


class Study(NamedTuple):
    """A model, and what it is asked."""

    probed: ProbedModel
    samples: Sequence[Sample]
    """Calibration scenes to draw from."""
    held_out: Sequence[Sample]
    on_progress: OnProgress

    def accuracy(self, samples: Sequence[Sample], plan: Plan, title: str) -> Evaluation:
        on_sample = counter(self.on_progress, title, len(samples))
        model, processor = self.probed.model, self.probed.processor
        return evaluate(model, processor, samples, plan, max_new_tokens=MAX_NEW_TOKENS, on_sample=on_sample)


def main(
    model: Annotated[list[str] | None, typer.Argument(help="Folders of joined models.")] = None,
    samples: Annotated[int, typer.Option(help="Scenes to calibrate on.")] = 100,
    held_out: Annotated[int, typer.Option(help="Held-out scenes.")] = 105,
    threads: Annotated[int, typer.Option(help="Threads of torch; the number changes rounding.")] = 1,
) -> None:
    """Study the models that are not recorded yet, the bundled ones first, and write the tables."""
    torch.set_num_threads(threads)
    try:
        for name in [*sorted(bundled_models()), *(model or [])]:
            path = RECORDS / f"{Path(name).name}.json"
            if not path.exists():
                found = study(name, samples, held_out)
                path.parent.mkdir(exist_ok=True)
                write_atomically(path, found.model_dump_json() + "\n")
                for work in ("calibration", "treatments"):
                    discard(_journal(name, work))
                stdout.print(f"{name}: {found.profile.saturation.reason}", soft_wrap=True, markup=False)
    except HalfVError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from None
    write_tables(read_records())


def study(model: str, samples: int, held_out: int) -> Backbone:
    """Measure one model.

    Args:
        model: a bundled name, or a folder.
        samples, held_out: numbers of scenes to calibrate on, and of held-out ones.

    Raises:
        ModelError: the model does not need its picture.
    """
    loaded = load_quietly(model, "auto", "auto", False)
    with progress_bar() as on_progress:
        probed = ProbedModel(loaded.model, loaded.processor)
        one = Study(probed, load_samples("scenes"), load_samples("scenes-heldout")[:held_out], on_progress)
        full = one.accuracy(one.held_out, Plan(()), "held-out scenes").mean
        blank = _without_pictures(one)
        if full - blank < NEEDED:
            raise ModelError(
                f"{model} does not need its picture",
                got=f"accuracy {full:.3f}, and {blank:.3f} with blank pictures",
                expected=f"at least {NEEDED:g} between them",
                remedy="train it longer",
            )
        calibrated = _calibrated(model, one, samples)
        treated = _treated(model, one, calibrated.profile)
    profile, curves = calibrated.profile, calibrated.observations.samples
    recipe = Path(model) / RECIPE
    return Backbone(
        model=Path(model).name,
        decoder=loaded.model.config.get_text_config().model_type,
        layers=profile.layers,
        recipe=json.loads(read_text(recipe)) if recipe.exists() else None,
        held_out=len(one.held_out),
        accuracy=full,
        accuracy_blank=blank,
        visual_entropy=estimates([curve.visual for curve in curves]),
        text_entropy=estimates([curve.text for curve in curves]),
        kl=estimates([curve.kl for curve in curves if curve.kl]),
        treated=treated,
        profile=profile,
    )


def _without_pictures(one: Study) -> float:
    """Accuracy with a grey picture in the place of each."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "blank.png"
        sizes = {image.size for sample in one.held_out for image in sample.open_images()}
        (size,) = sizes  # all scenes have one size
        Image.new("RGB", size, GREY).save(path)
        blank = [sample.model_copy(update={"images": (path,)}) for sample in one.held_out]
        return one.accuracy(blank, Plan(()), "with blank pictures").mean


def _calibrated(model: str, one: Study, samples: int) -> Calibrated:
    """Calibrate the model, or take what `make results` found about a bundled one."""
    shipped = PROFILES / f"{model}.json"
    if model in bundled_models():
        return Calibrated(Profile.load(shipped), Observations.load(beside(shipped)))
    return calibrate_in_full(
        *one.probed[:2],
        one.samples,
        Settings(samples=samples, certify=0, examples=0),
        model_id=Path(model).name,
        data="scenes",
        journal=_journal(model, "calibration"),
        on_progress=one.on_progress,
    )


def _journal(model: str, work: str) -> Path:
    """Where work that was stopped goes on."""
    return JOURNALS / f"{Path(model).name}.{work}.unfinished"


def _treated(model: str, one: Study, profile: Profile) -> Treated:
    """The treatments on the samples of the calibration, and from where Stage III begins on the held-out ones."""
    used = set(profile.provenance.sample_ids)
    samples = [sample for sample in one.samples if sample.id in used]

    def answer(sample: Sample) -> Answer:
        return Answer.of(full_model_answer(one.probed, one.probed.inputs(sample), MAX_NEW_TOKENS))

    few, starts = Settings().top_share, tuple(range(1, profile.layers))
    step = CausalCurvesAt({sample.id: answer(sample) for sample in samples}, profile.layers, few, starts)
    identity = Identity.of(one.probed.model, one.probed.processor, samples, model)
    with Journal.open(_journal(model, "treatments"), identity.key({"max_new_tokens": MAX_NEW_TOKENS})) as journal:
        losses = step.combine(StepRunner(one.probed, journal, one.on_progress).measure_all(step, samples)).losses
    start = profile.stages.saturation_start or 2 * profile.layers // 3
    plans = {name: treatment_plan(name, start, profile.layers, few) for name in TREATMENTS}
    return Treated(
        starts=starts,
        use_kept={name: _use_kept(losses, name) for name in TREATMENTS},
        tried_from=start,
        accuracy={name: one.accuracy(one.held_out, plan, f"held out, {name}").mean for name, plan in plans.items()},
    )


def _use_kept(losses: CausalLosses, name: CausalTreatment) -> tuple[Estimate, ...]:
    return resampled(len(losses.control), lambda draw: losses.resampled(draw).use_kept(name), losses.use_kept(name))


def estimates(rows: ArrayLike) -> tuple[Estimate, ...]:
    """Means over the samples, with intervals.

    Args:
        rows: (samples, points).
    """
    table = np.asarray(rows, dtype=np.float64)
    return resampled(len(table), lambda draw: table[draw].mean(0), table.mean(0))


def resampled(count: int, statistic: Callable[[Sequence[int]], ArrayLike], values: ArrayLike) -> tuple[Estimate, ...]:
    """The values of a statistic, (points,), with the intervals that resampling its `count` samples gives."""
    draws = np.array([statistic(draw) for draw in with_replacement(count, seed=0).tolist()])  # (draws, points)
    bounds = zip(np.asarray(values).tolist(), *np.quantile(draws, (0.05, 0.95), axis=0).tolist(), strict=True)
    return tuple(Estimate(mean=mean, low=low, high=high) for mean, low, high in bounds)


if __name__ == "__main__":
    typer.run(main)
