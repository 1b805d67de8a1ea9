"""One bundled model from end to end: calibrate it on scenes, answer held-out ones with and without the plan."""

import json
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers

from cli.common import load_quietly, progress_bar
from halfv_core import Plan, Profile
from halfv_core.models import LoadedModel
from halfv_core.profile import write_atomically
from probe import calibrate_in_full, load_samples
from probe.calibration.observations import Observations, beside
from probe.common.progress import OnProgress, counter
from probe.evaluation.evaluate import Evaluation, evaluate
from probe.report import Subject, write_report


class Study(NamedTuple):
    """What came out for one model."""

    model: str
    profile: Profile
    observations: Observations
    full: Evaluation
    """Held-out scenes without a plan."""
    fast: Evaluation
    """The same under the profile's plan."""
    seconds: float

    @property
    def retention(self) -> float:
        """Mean accuracy under the plan over that without."""
        return self.fast.mean / self.full.mean


def study(model: str, output: Path) -> Study:
    """Calibrate on the 100 calibration scenes and compare on the 300 held-out ones.

    Writes profile.json with its observations, report.html and results.json into `output`.
    """
    began = time.monotonic()
    loaded = load_quietly(model, "auto", "auto", False)
    with progress_bar() as on_progress:
        profile, observations = calibrate_in_full(
            loaded.model,
            loaded.processor,
            load_samples("scenes"),
            model_id=model,
            data="scenes",
            on_progress=on_progress,
        )
        observations.save(beside(output / "profile.json"))
        profile.save(output / "profile.json")
        write_report([Subject(profile, observations)], output / "report.html")
        full = _answer(loaded, Plan(()), "full model", on_progress)
        fast = _answer(loaded, profile, "accelerated", on_progress)
    found = Study(model, profile, observations, full, fast, time.monotonic() - began)
    write_atomically(output / "results.json", json.dumps(as_data(found), indent=1) + "\n")
    return found


def _answer(loaded: LoadedModel, plan: Plan | Profile, step: str, on_progress: OnProgress) -> Evaluation:
    samples = load_samples("scenes-heldout")
    on_sample = counter(on_progress, step, len(samples))
    return evaluate(loaded.model, loaded.processor, samples, plan, on_sample=on_sample)


def as_data(found: Study) -> dict[str, Any]:
    """A study as JSON: what was decided, and what it does to held-out scenes."""
    profile, full, fast = found.profile, found.full, found.fast
    return {
        "model": found.model,
        "visual_tokens": profile.expected.visual_tokens,
        "aggregation_start": profile.stages.aggregation_start,
        "saturation_start": profile.stages.saturation_start,
        "saturation_type": profile.saturation.type,
        "saturation_reason": profile.saturation.reason,
        "plan": profile.plan.describe(),
        "keep_ratio": profile.plan.keeps[0].keep_ratio if profile.plan.keeps else 1.0,
        "samples": len(full.grades),
        "accuracy_full": full.mean,
        "accuracy_accelerated": fast.mean,
        "retention": found.retention,
        "flops_ratio": fast.flops_ratio,
        "kv_ratio": fast.kv_ratio,
        "by_family": {family: [full.accuracy[family], fast.accuracy[family]] for family in full.accuracy},
        "seconds": round(found.seconds, 1),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "date": datetime.now(UTC).date().isoformat(),
    }
