"""With low memory a calibration gives the same profile, and goes on with what was measured without."""

import json
from pathlib import Path

import pytest

from halfv_core import Profile
from halfv_core.models import load_model
from probe import calibrate, load_samples
from tests.checkpoints import save_checkpoint
from tests.unit.probe.calibration.test_calibrate import write_samples
from tests.unit.probe.calibration.test_resume import SETTINGS, timeless


def _found(profile: Profile) -> str:
    """The profile without times and the setting itself."""
    found = json.loads(timeless(profile))
    del found["provenance"]["arguments_resolved"]["low_memory"]
    return json.dumps(found)


def test_the_profile_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    loaded = load_model(str(save_checkpoint("llava", tmp_path / "model")), device="cpu")
    samples, journal = load_samples(write_samples(tmp_path / "data", SETTINGS.samples + 1)), tmp_path / "journal"
    low = SETTINGS.model_copy(update={"low_memory": True})
    full = calibrate(loaded.model, loaded.processor, samples, SETTINGS, journal=journal)
    again = calibrate(loaded.model, loaded.processor, samples, low)
    assert _found(again) == _found(full)
    monkeypatch.setattr("probe.calibration.steps.curves.each_state", lambda *_, **__: pytest.fail("measured again"))
    continued = calibrate(loaded.model, loaded.processor, samples, low, journal=journal)
    assert _found(continued) == _found(full)
