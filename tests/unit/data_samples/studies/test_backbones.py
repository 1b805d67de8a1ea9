"""The study of decoders: what it measures on a small model, what it refuses, and the tables on its page."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, LlavaForConditionalGeneration

from data_samples.studies import backbones
from data_samples.studies.backbones import NEEDED, RECIPE, estimates, resampled, study
from data_samples.studies.backbones_records import Backbone, read_records
from data_samples.studies.backbones_tables import (
    COMMAND,
    DEPTHS,
    DEPTHS_COMMAND,
    PAGE,
    TREATED,
    depths_table,
    models_table,
)
from data_samples.studies.backbones_training import COMMAND as TRAINING_COMMAND
from data_samples.studies.backbones_training import Logged, read_log, training_table
from data_samples.studies.tables import read_table
from halfv_core.bundled import BUNDLED
from halfv_core.errors import ModelError
from halfv_core.models import bundled_models
from probe.calibration.steps.causal_curves import CausalCurvesAt
from probe.calibration.steps.curves import Curves


def test_the_page_has_the_tables_of_the_records() -> None:
    records = read_records()
    assert set(bundled_models()) <= set(records)
    assert read_table(COMMAND, PAGE) == models_table(records)
    assert read_table(DEPTHS_COMMAND, PAGE) == depths_table(records)
    assert read_table(TRAINING_COMMAND, PAGE) == training_table()


@pytest.mark.parametrize("name", sorted(read_records()))
def test_records_are_whole_and_of_models_that_see(name: str) -> None:
    one = read_records()[name]
    assert one.accuracy - one.accuracy_blank >= NEEDED
    assert one.treated.starts == tuple(range(1, one.layers))
    assert len(one.visual_entropy) == len(one.text_entropy) == one.layers + 1 and len(one.kl) == one.layers
    for kept in one.treated.use_kept.values():
        assert len(kept) == one.layers - 1 and all(value.low <= value.high <= 1.0 for value in kept)


def test_lines_of_a_log_about_answers(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(
        "align 10/20 loss 6.5 0.53 s/step | color 0.1\n"
        "answer 10/1600 loss 1.2500 5.00 s/step | counting 0.500 text_where 0.250\n"
        "adapters after 10 steps\n"
    )
    assert read_log(tmp_path / "log") == [Logged(10, 1.25, {"counting": 0.5, "text_where": 0.25})]


def test_a_model_that_does_not_see_is_refused(tmp_path: Path) -> None:
    shipped = BUNDLED / "models" / "tiny-llava"
    for path in shipped.glob("*.json"):
        shutil.copy(path, tmp_path)
    shutil.copy(shipped / "chat_template.jinja", tmp_path)
    torch.manual_seed(0)
    LlavaForConditionalGeneration(AutoConfig.from_pretrained(shipped)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="does not need its picture"):
        study(str(tmp_path), samples=4, held_out=7)


@pytest.mark.slow
def test_what_is_measured_can_be_written_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is calibrated; for the bundled models, the shipped calibrations are taken. Nothing is measured twice."""
    monkeypatch.setattr(backbones, "JOURNALS", tmp_path)
    shutil.copytree(BUNDLED / "models" / "tiny-llava", tmp_path / "joined")
    (tmp_path / "joined" / RECIPE).write_text('{"sha256": {"llm": "0"}}')
    found = study(str(tmp_path / "joined"), samples=3, held_out=7)
    assert Backbone.model_validate_json(found.model_dump_json()) == found
    assert found.held_out == 7 and found.recipe == {"sha256": {"llm": "0"}} and found.decoder == "llama"
    assert found.treated.starts == tuple(range(1, 12)) and set(found.treated.accuracy) == set(TREATED)
    # Dropping all visual tokens at once costs more than dropping them at the end, where nothing reads them.
    assert found.treated.use_kept["drop"][0].mean < found.treated.use_kept["drop"][-1].mean
    table = depths_table({found.model: found})
    assert len(table.splitlines()) == 2 + len(DEPTHS)
    for step in (Curves, CausalCurvesAt):
        monkeypatch.setattr(step, "measure", lambda *_: pytest.fail("measured again"))
    again = study(str(tmp_path / "joined"), samples=3, held_out=7)
    assert again.treated == found.treated and again.kl == found.kl


def test_intervals_come_from_the_samples() -> None:
    rows = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    same, varied = estimates(rows)
    assert (same.mean, same.low, same.high) == (1.0, 1.0, 1.0)
    assert varied.mean == 0.5 and 0.0 <= varied.low < 0.5 < varied.high <= 1.0
    largest = resampled(4, lambda draw: [max(draw)], [3.0])
    assert largest[0].mean == 3.0 and largest[0].low < largest[0].high == 3.0
