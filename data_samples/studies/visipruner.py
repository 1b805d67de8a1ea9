"""VisiPruner's layers and thresholds for the bundled models, which `make methods` compares with the published ones.

    python -m data_samples.studies.visipruner       # about 2 minutes of CPU time for each model, then make methods

Calibrates each model for VisiPruner on 100 of the bundled scenes, and writes the profiles that are shipped in
data_samples/profiles/visipruner.
"""

from typing import Annotated

import torch
import typer

from cli.common import load_quietly, progress_bar
from data_samples.studies.results import PROFILES
from halfv_core.models import bundled_models
from halfv_core.profile import Profile
from probe import calibrate, load_samples
from probe.calibration.settings import Settings

METHOD = "visipruner"
RECORDS = PROFILES / METHOD
DATA = "scenes"
SETTINGS = Settings(method=METHOD, certify=0, examples=0)


def main(
    model: Annotated[list[str] | None, typer.Option(help="May be repeated. [default: all bundled models]")] = None,
) -> None:
    """Calibrate the models, and write their profiles."""
    torch.set_num_threads(1)
    RECORDS.mkdir(exist_ok=True)
    for name in model or sorted(bundled_models()):
        calibrated(name).save(RECORDS / f"{name}.json")


def calibrated(model: str) -> Profile:
    """The profile of a bundled model whose plan is VisiPruner's."""
    loaded = load_quietly(model, "auto", "cpu", False)
    with progress_bar() as on_progress:
        return calibrate(
            loaded.model,
            loaded.processor,
            load_samples(DATA),
            SETTINGS,
            model_id=model,
            data=DATA,
            arguments={"model": model, "data": DATA, "method": METHOD, "certify": 0, "examples": 0},
            on_progress=on_progress,
        )


def with_visipruner(profile: Profile) -> Profile:
    """A bundled model's profile with what was measured for VisiPruner, from which the method takes its settings."""
    found = Profile.load(RECORDS / f"{profile.provenance.model_id}.json")
    return profile.model_copy(update={"method": found.method})


if __name__ == "__main__":
    typer.run(main)
