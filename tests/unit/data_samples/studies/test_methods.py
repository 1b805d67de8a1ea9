"""What `make methods` writes: the table of the page is that of the records, and says what is missing."""

import pytest
from transformers import AutoConfig

from data_samples.studies import methods
from data_samples.studies.tables import read_table
from halfv_core.bundled import BUNDLED
from halfv_core.errors import HalfVError
from halfv_core.models import bundled_models
from halfv_core.plan import Keep, Plan
from halfv_core.profile import Profile
from probe.evaluation.methods import MethodComparison
from tests.comparisons import comparison, tuned


@pytest.mark.parametrize("study", [methods.DEFAULTS, methods.TUNED], ids=lambda study: study.command)
def test_the_page_has_the_table_of_the_records(study: methods.Study) -> None:
    records = methods.read_records(study)
    assert [one.model_id for one in records] in ([], sorted(bundled_models()))
    assert read_table(study.command, methods.PAGE) == methods.table(records)
    for one in records:
        assert one.budgets == methods.BUDGETS and one.samples == 300 and not one.questions
        assert (one.tuned_on is not None) == study.tuned
        assert one.tuned_on is None or (one.tuned_on.samples, one.tuned_on.shared) == (methods.TUNING_SAMPLES, 0)


def test_the_table_says_what_tuning_chose() -> None:
    text = methods.table([tuned(), comparison(1, "tiny-qwen2.5-vl")])
    assert "- `tiny-llava`, tuned on 100 of `scenes`: method-0 2x layer 4.\n" in text
    assert "Settings that tuning chose" not in methods.table([comparison()])


def test_the_table_has_every_method_and_budget_and_what_is_missing() -> None:
    found = [comparison(4, "tiny-llava"), comparison(2, "tiny-qwen2.5-vl")]
    text = methods.table(found)
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == ["method", *(f"`{one.model_id}`, {b:g}x" for one in found for b in (2, 3, 4))]
    assert all(len(row) == 7 for row in rows)
    names = [row[0].strip("`") for row in rows[3:]]
    assert set(names) == {"random", "uniform", *(f"method-{index}" for index in range(4))}
    assert set(names[-2:]) == {"random", "uniform"}
    by_name = {row[0].strip("`"): row[1:] for row in rows[3:]}
    assert by_name["method-3"][3:] == ["-", "-", "-"]  # not run on the second model
    assert sum(cell.startswith("**") for cell in by_name["method-0"]) >= 1
    assert "`tiny-llava`: This profile keeps 97.0% at 2.50x fewer FLOPs" in text
    assert "- `vtw` on tiny-llava, tiny-qwen2.5-vl: needs a withdrawal curve" in text
    assert methods.table([]) == ""


@pytest.mark.parametrize("kept", [None, 0.5])
def test_settings_of_their_own_are_told_apart(kept: float | None) -> None:
    found = comparison(1)
    own = found.rows[-1].model_copy(update={"method": "visipruner", "budget": None, "retention": kept})
    text = methods.table([MethodComparison(**found.model_dump(exclude={"rows"}), rows=(*found.rows, own))])
    assert f"`visipruner` keeps {'-' if kept is None else '50.0%'} at 4.02x" in text


def test_only_what_differs_from_the_records_is_measured_again() -> None:
    name = "tiny-llava"
    (earlier,) = [one for one in methods.read_records() if one.model_id == name]
    config = AutoConfig.from_pretrained(BUNDLED / "models" / name)
    profile = Profile.load(methods.PROFILES / f"{name}.json")
    changed = methods.changed_methods(config, earlier, profile)
    assert {"random", "uniform"} <= set(changed) <= {"random", "shortv", "uniform"}  # shortv takes the profile's curve
    other = Plan((Keep(layer=3, keep_ratio=0.3, selector="uniform"),))
    rows = tuple(row.model_copy(update={"plan": other}) if row.label == "dart 3x" else row for row in earlier.rows)
    without = tuple(row for row in rows if row.method != "fastv")
    edited = earlier.model_copy(update={"rows": without})
    assert set(methods.changed_methods(config, edited, profile)) == {*changed, "dart", "fastv"}


def test_an_updated_record_has_new_rows_and_those_that_stay() -> None:
    (earlier,) = [one for one in methods.read_records() if one.model_id == "tiny-llava"]
    ran = {"full", "profile", "calibrated", "random", "uniform"}
    fresh = tuple(
        row.model_copy(update={"retention": 0.5}) for row in earlier.rows if row.method in {*ran, "random-input"}
    )
    found = earlier.model_copy(update={"rows": fresh, "refused": (), "created": "2027-01-01T00:00:00+00:00"})
    joined = methods.updated(earlier, found)
    assert [row.label for row in joined.rows] == [row.label for row in earlier.rows]
    for row, before in zip(joined.rows, earlier.rows, strict=True):
        assert row == (before if row not in fresh else row) and (row in fresh) == (row.retention == 0.5)
    assert joined.refused == earlier.refused and joined.created == found.created
    with pytest.raises(HalfVError, match="another dtype; got float32; expected bfloat16"):
        methods.updated(earlier, found.model_copy(update={"dtype": "bfloat16"}))
