"""The table that a calibration ends with: what is proven comes first where something was to be proven."""

from typing import Any

import pytest

from cli.summary import summary_rows
from halfv_core.profile import Profile
from tests import profiles, proven_profiles


def certified(**change: Any) -> Profile:
    profile = proven_profiles.proven()
    assert profile.certificate is not None
    return profile.model_copy(update={"certificate": profile.certificate.model_copy(update=change)})


def test_plan_target_and_proof_are_the_first_lines() -> None:
    rows = summary_rows(certified())
    assert [name for name, _ in rows[:12]] == [
        *("plan", "", "prefill FLOPs", "KV cache", "target", "estimated", "held out", "proven"),
        *("proven plan", "", "", "I alignment"),
    ]
    texts = dict(rows)
    assert texts["target"] == "97 % of the full model's score"
    assert texts["estimated"] == "97.8 % kept, on the 80 samples it was chosen on"
    assert texts["held out"] == "96.8 % kept, on 225 samples that took no part in the choice"
    assert texts["proven"] == "at least 94.1 %, with 90% confidence"
    assert rows[8:11] == [
        ("proven plan", "2.10x fewer FLOPs"),
        *(("", text) for text in proven_profiles.MILD.describe()),
    ]
    assert texts["search"].startswith("The search predicted 1,240 plans and ran 62 of them")


@pytest.mark.parametrize(
    ("change", "name", "text"),
    [
        ({"score": "likelihood"}, "target", "97 % of the full model's score, by the likelihood of its own answers"),
        ({"samples": 0, "retention": None}, "held out", "not measured"),
        ({"proven": None}, "proven", "nothing"),
        ({"proven_plan": None}, "proven plan", "none that saves anything"),
        (
            {"proven_plan": None, "samples_needed": 480},
            "proven plan",
            "none that saves anything; about 480 held-out samples would prove this one",
        ),
        ({"proven_plan": proven_profiles.TAKEN}, "proven plan", "this one"),
    ],
)
def test_what_is_not_proven(change: dict[str, Any], name: str, text: str) -> None:
    assert (name, text) in summary_rows(certified(**change))


def test_a_profile_without_a_certificate_begins_with_its_stages() -> None:
    names = [name for name, _ in summary_rows(profiles.qwen_like())]
    assert names[:3] == ["I alignment", "II aggregation", "III saturation"]
    assert "proven" not in names and names[-1] == "held-out samples"
