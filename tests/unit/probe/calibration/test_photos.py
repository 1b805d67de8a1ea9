"""Real photographs through a saved checkpoint of every family, with its real processor, choices and several images."""

from pathlib import Path

import pytest

from halfv_core import Plan, Profile
from halfv_core.models import load_model
from probe import Settings, calibrate, load_samples
from probe.calibration.calibrate import calibrate_in_full
from probe.data.draw import draw
from probe.evaluation.evaluate import evaluate
from tests.checkpoints import READABLE, VIDEO_FAMILIES, save_checkpoint
from tests.tiny import LAYERS

FAMILY = pytest.mark.parametrize("family", READABLE)


@FAMILY
def test_photos_calibrate_a_saved_checkpoint(family: str, tmp_path: Path) -> None:
    model, processor, _ = load_model(str(save_checkpoint(family, tmp_path / "model")), device="cpu")
    settings = Settings(samples=3, held_out=0.34, certify=1, examples=0, entropy_k=5, max_new_tokens=2)
    profile = calibrate(model, processor, load_samples("photos"), settings, model_id=family, data="photos")
    profile.save(tmp_path / "profile.json")
    assert Profile.load(tmp_path / "profile.json") == profile
    assert profile.layers == LAYERS
    assert (len(profile.provenance.sample_ids), len(profile.provenance.held_out_ids)) == (2, 2)
    assert profile.provenance.rejected == 0
    assert profile.provenance.data_columns["choices"] == "choices"


@FAMILY
def test_pairs_and_videos_run(family: str, tmp_path: Path) -> None:
    model, processor, _ = load_model(str(save_checkpoint(family, tmp_path / "model")), device="cpu")
    pairs = [sample for sample in load_samples("photos") if len(sample.images) > 1]
    samples = [*pairs[:2], *load_samples("photos-video")[:1]]
    assert [(len(sample.images), len(sample.videos)) for sample in samples] == [(2, 0), (2, 0), (0, 1)]
    found = evaluate(model, processor, samples, Plan(()), max_new_tokens=2)
    assert len(found.answers) == 3


@FAMILY
def test_videos_calibrate_a_saved_checkpoint(family: str, tmp_path: Path) -> None:
    """As videos where the processor takes them, else as images; the report shows the frames that have tokens."""
    model, processor, _ = load_model(str(save_checkpoint(family, tmp_path / "model")), device="cpu")
    settings = Settings(
        samples=4, held_out=0.5, certify=1, examples=1, entropy_k=5, max_new_tokens=2, method="fastv", target_flops=1.3
    )
    samples = load_samples("photos-video", frames=4)
    profile, observations = calibrate_in_full(model, processor, samples, settings, model_id=family, data="photos-video")
    assert profile.provenance.rejected == 0
    assert profile.provenance.image_processor.get("videos") == (
        None if family in VIDEO_FAMILIES else "frames as images"
    )
    (example,) = observations.examples
    together = 2 if family.startswith("qwen") else 1
    assert len(example.pictures) == 4 // together
    labels = [f"frame {number} of 8" for number in (1, 3, 6, 8)][::together]
    assert [picture.label for picture in example.pictures] == (labels if family in VIDEO_FAMILIES else [""] * 4)
    assert {region.image for region in example.regions if region} == set(range(len(example.pictures)))


def test_a_draw_of_the_photos_holds_every_family_and_many_images() -> None:
    drawn = draw(load_samples("photos"), 60, seed=0)
    families = ["attribute", "counting", "description", "existence", "reading", "relation"]
    assert sorted({sample.family or "" for sample in drawn}) == families
    assert len({sample.images[0] for sample in drawn}) >= 35
