"""What `make methods` writes: the table of the page is that of the records, and says what is missing."""

import pytest

from data_samples.studies import methods
from data_samples.studies.tables import read_table
from halfv_core.models import bundled_models
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
