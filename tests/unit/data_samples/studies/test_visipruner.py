"""The shipped calibrations for VisiPruner: the comparison of methods has them beside the published settings."""

import pytest
from transformers import AutoConfig

from data_samples.studies import methods
from data_samples.studies.visipruner import METHOD, RECORDS, with_visipruner
from halfv_core.bundled import BUNDLED
from halfv_core.methods import METHODS, Target, measured_by
from halfv_core.models import bundled_models
from halfv_core.profile import Profile


@pytest.mark.parametrize("name", sorted(bundled_models()))
def test_the_comparison_has_calibrated_and_published_settings(name: str) -> None:
    profile = Profile.load(methods.PROFILES / f"{name}.json")
    calibrated = Profile.load(RECORDS / f"{name}.json")
    config = AutoConfig.from_pretrained(BUNDLED / "models" / name)
    calibrated.check_model(config)
    assert calibrated.method is not None and calibrated.method.name == METHOD and calibrated.method.samples == 80
    (record,) = [one for one in methods.read_records() if one.model_id == name]
    both = with_visipruner(profile)
    assert both.plan == profile.plan and both.provenance == profile.provenance
    target = Target.of(config, record.visual_tokens, record.text_tokens, measured_by(both))
    expected = {one.setting: one.default(target) for one in METHODS[METHOD]().variants(target)}
    assert expected[""] == calibrated.plan
    rows = {row.setting: row for row in record.rows if row.method == METHOD}
    assert {setting: row.plan for setting, row in rows.items()} == expected
    chosen, published = rows[""], rows["thresholds published"]
    assert (chosen.retention or 0.0) > (published.retention or 0.0) and chosen.flops_ratio > 1.0
