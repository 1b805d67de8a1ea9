"""A demonstration: calibrate one model on bundled scenes, then answer held-out scenes with and without the plan.

demo = run_demo(load_model("tiny-qwen2.5-vl"), Path("runs/demo"))
demo.results()["retention"]
"""

import json
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from pydantic import JsonValue

from halfv_core.files import write_atomically
from halfv_core.models import LoadedModel
from halfv_core.plan import Plan
from halfv_core.profile import Profile
from probe.calibration.calibrate import Settings, calibrate_in_full
from probe.calibration.observations import Observations, beside
from probe.common.progress import OnProgress
from probe.data.draw import draw
from probe.data.samples import Sample, load_samples
from probe.evaluation.ablation import Ablation, ablate
from probe.evaluation.outcomes import Summary
from probe.evaluation.variants import FULL, Variants
from probe.report import Subject, write_report

ACCELERATED = "accelerated"
"""Name of the variant that runs under the profile's plan."""


class Files(NamedTuple):
    """The files that a demo writes into its folder."""

    profile: Path
    """The profile; its observations are written next to it."""
    report: Path
    results: Path
    scene: Path
    """The image of one held-out scene, for trying the profile."""

    @classmethod
    def of(cls, folder: Path) -> "Files":
        """The paths of the files in a folder."""
        return cls(*(folder / name for name in ("profile.json", "report.html", "results.json", "scene.png")))


class Demo(NamedTuple):
    """What was measured on one model."""

    profile: Profile
    observations: Observations
    ablation: Ablation
    """The answers to the held-out scenes, by the full model and under the plan."""
    scene: Sample
    """The held-out scene whose image was written."""
    seconds: float
    """Wall-clock time of this run."""

    @property
    def model(self) -> str:
        """The name of the model, as the user gave it."""
        return self.ablation.model_id

    @property
    def full(self) -> Summary:
        """Results without a plan."""
        return self.ablation.variants[FULL]

    @property
    def fast(self) -> Summary:
        """Results under the profile's plan."""
        return self.ablation.variants[ACCELERATED]

    def results(self) -> dict[str, Any]:
        """The content of results.json: the stages, the plan, and its effect on the answers."""
        profile, full, fast = self.profile, self.full, self.fast
        certificate, search = profile.certificate, profile.search
        estimated = next((test.retention for test in profile.pruning_tests if test.plan == profile.plan), None)
        return {
            "model": self.model,
            "visual_tokens": profile.expected.visual_tokens,
            "aggregation_start": profile.stages.aggregation_start,
            "saturation_start": profile.stages.saturation_start,
            "saturation_type": profile.saturation.type,
            "saturation_reason": profile.saturation.reason,
            "plan": profile.plan.describe(),
            "keep_ratio": profile.plan.keeps[0].keep_ratio if profile.plan.keeps else 1.0,
            "samples": len(self.ablation.comparisons),
            "accuracy_full": full.accuracy,
            "accuracy_accelerated": fast.accuracy,
            "retention": fast.retention,
            "retention_estimated": estimated,
            "retention_certified_on": None if certificate is None else certificate.retention,
            "retention_proven": None if certificate is None else certificate.proven,
            "certified_on": None if certificate is None else certificate.samples,
            "proven_flops_ratio": None if certificate is None else certificate.proven_flops_ratio,
            "plans_considered": None if search is None else search.considered,
            "plans_run": None if search is None else search.plans,
            "passes": None if search is None else search.passes,
            "flops_ratio": fast.flops_ratio,
            "kv_ratio": fast.kv_ratio,
            "by_family": {family: [full.by_family[family], fast.by_family[family]] for family in full.by_family},
            "seconds": round(self.seconds, 1),
            "machine": self.ablation.machine,
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            },
            "date": datetime.now(UTC).date().isoformat(),
        }


def run_demo(
    loaded: LoadedModel,
    folder: Path,
    *,
    samples: int = 100,
    questions: int = 300,
    arguments: dict[str, JsonValue] | None = None,
    on_progress: OnProgress | None = None,
) -> Demo:
    """Calibrate a model, write its profile and report, and compare its answers with and without the plan.

    An interrupted run continues where it stopped when it is started again with the same folder.

    Args:
        folder: folder for the files (see `Files`); created if it does not exist.
        samples: number of calibration scenes, drawn from the 400 bundled ones.
        questions: number of held-out scenes, drawn from the 300 bundled ones.
        arguments: options of `halfv-probe calibrate` that the user gave, for the profile's provenance.
        on_progress: called as each step advances.

    Raises:
        DataError: too few samples or questions, or the bundled scenes are not installed.
        ModelError: the model cannot be probed.
        HalfVError: the folder holds unfinished work with another model, other settings or other package versions.
    """
    started = time.monotonic()
    settings = Settings.from_user(samples=samples)
    held_out = draw(load_samples("scenes-heldout"), questions, settings.seed)
    files = Files.of(folder)
    journals = [path.with_name(f"{path.name}.unfinished") for path in (files.profile, files.results)]
    profile, observations = calibrate_in_full(
        loaded.model,
        loaded.processor,
        load_samples("scenes"),
        settings,
        model_id=loaded.name,
        data="scenes",
        arguments=arguments,
        journal=journals[0],
        on_progress=on_progress,
    )
    _save(profile, observations, files)
    ablation = ablate(
        loaded.model,
        loaded.processor,
        held_out,
        profile,
        variants=Variants({FULL: Plan(()), ACCELERATED: profile.plan}, {}),
        model_id=loaded.name,
        profile_id=files.profile.name,
        data="scenes-heldout",
        journal=journals[1],
        on_progress=on_progress,
    )
    held_out[0].open_images()[0].save(files.scene)
    demo = Demo(profile, observations, ablation, held_out[0], time.monotonic() - started)
    write_atomically(files.results, json.dumps(demo.results(), indent=1) + "\n")
    for journal in journals:
        journal.unlink()
    return demo


def _save(profile: Profile, observations: Observations, files: Files) -> None:
    """Write the profile, its observations and the report."""
    observations.save(beside(files.profile))
    profile.save(files.profile)
    write_report([Subject(profile, observations)], files.report)
