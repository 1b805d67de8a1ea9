"""Prompts with images inside the text run through a whole calibration, and prune as any other."""

import json
from pathlib import Path

import pytest

from halfv_core.interleaving import IMAGE_PLACE
from halfv_core.models import load_model
from probe.calibration.calibrate import calibrate
from probe.calibration.settings import Settings
from probe.data.samples import load_samples
from tests.checkpoints import save_checkpoint
from tests.pictures import noise


@pytest.mark.parametrize("family", ["qwen2_5_vl", "llava_next"])
def test_images_inside_the_text_are_calibrated_on(family: str, tmp_path: Path) -> None:
    for number in range(2):
        noise(64, 64, 90 * number + 20, number).save(tmp_path / f"{number}.png")
    rows = [
        {"images": ["0.png", "1.png"], "question": f"w{n} <image 2> w9 <image 1> w{n + 3}", "answer": "w3"}
        for n in range(20, 24)
    ]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    samples = load_samples(tmp_path / "d.json")
    assert [[image.name for image in sample.images] for sample in samples] == [["1.png", "0.png"]] * 4  # type: ignore[union-attr]
    assert all(sample.question.count(IMAGE_PLACE) == 2 for sample in samples)
    model, processor, _ = load_model(str(save_checkpoint(family, tmp_path / "model")), device="cpu")
    profile = calibrate(model, processor, samples, Settings(samples=4, entropy_k=5, max_new_tokens=2))
    assert profile.provenance.rejected == 0
