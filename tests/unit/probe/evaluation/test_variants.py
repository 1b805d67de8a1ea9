"""The variants that a profile has, and why it does not have the others."""

import pytest

from halfv_core import Freeze, Keep, Plan, Profile
from halfv_core.errors import HalfVError
from probe.evaluation.variants import VARIANTS, variants_of
from tests.profiles import IVR, llava_like, qwen_like, unsaturated


def test_a_plan_with_both_parts_has_all_variants() -> None:
    plans, missing = variants_of(llava_like())
    keep, freeze = Keep(layer=3, keep_ratio=0.5, options=IVR), Freeze(layers=range(15, 32))
    few = Keep(layer=15, keep_ratio=0.05, selector="attention")
    assert list(plans) == list(VARIANTS)
    assert plans == {
        "full": Plan(()),
        "ivr": Plan((keep,)),
        "ssr": Plan((freeze,)),
        "ivr+ssr": Plan((keep, freeze)),
        "wrong_ssr": Plan((keep, few)),
    }
    assert missing == {}


def test_under_token_sparsity_freezing_is_the_wrong_treatment() -> None:
    plans, _ = variants_of(qwen_like())
    assert plans["ssr"] == Plan((Keep(layer=21, keep_ratio=0.05, selector="attention"),))
    assert plans["wrong_ssr"] == Plan((*plans["ivr"].interventions, Freeze(layers=range(21, 28))))


def test_without_stage_3_there_is_pruning_alone() -> None:
    plans, missing = variants_of(unsaturated())
    assert list(plans) == ["full", "ivr"]
    assert missing == dict.fromkeys(("ssr", "ivr+ssr", "wrong_ssr"), "the plan leaves Stage III alone")


def replaced(profile: Profile, plan: Plan) -> Profile:
    return profile.model_copy(update={"plan": plan})


def test_without_pruning_there_is_the_treatment_alone() -> None:
    freeze = Freeze(layers=range(15, 32))
    plans, missing = variants_of(replaced(llava_like(), Plan((freeze,))))
    assert plans == {
        "full": Plan(()),
        "ssr": Plan((freeze,)),
        "wrong_ssr": Plan((Keep(layer=15, keep_ratio=0.05, selector="attention"),)),
    }
    assert missing == dict.fromkeys(("ivr", "ivr+ssr"), "the plan prunes nothing at Stage II")


def test_the_wrong_treatment_begins_where_the_right_one_does() -> None:
    """A search may freeze from another layer on than the one where the treatments were tested, even from a Keep's."""
    early, late = Keep(layer=2, keep_ratio=0.5, options=IVR), Keep(layer=6, keep_ratio=0.25, options=IVR)
    drop = Keep(layer=30, keep_ratio=0.0, selector="uniform")
    freeze = Freeze(layers=range(6, 30))
    plans, missing = variants_of(replaced(llava_like(), Plan((early, late, freeze, drop))))
    assert not missing
    assert (plans["ivr"], plans["ssr"]) == (Plan((early, late)), Plan((freeze, drop)))
    assert plans["wrong_ssr"] == Plan((early, Keep(layer=6, keep_ratio=0.05, selector="attention")))


def test_a_plan_that_does_nothing_leaves_the_full_model() -> None:
    plans, missing = variants_of(replaced(llava_like(), Plan(())))
    assert list(plans) == ["full"]
    assert set(missing) == set(VARIANTS) - {"full"}


def test_few_tokens_are_no_more_than_those_that_are_left() -> None:
    ivr = Keep(layer=3, keep_ratio=0.02)
    plans, _ = variants_of(replaced(llava_like(), Plan((ivr, Freeze(layers=range(15, 32))))))
    assert plans["wrong_ssr"].keeps == (ivr, Keep(layer=15, keep_ratio=0.02, selector="attention"))


def test_a_profile_without_tests_does_not_say_what_is_wrong() -> None:
    profile = llava_like()
    silent = profile.model_copy(update={"saturation": profile.saturation.model_copy(update={"tests": ()})})
    plans, missing = variants_of(silent)
    assert "wrong_ssr" not in plans
    assert missing == {"wrong_ssr": "the profile does not say what else was tried in Stage III"}


def test_some_can_be_asked_for_and_the_full_model_comes_with_them() -> None:
    assert list(variants_of(llava_like()).only(("wrong_ssr", "ivr")).plans) == ["full", "ivr", "wrong_ssr"]
    assert variants_of(llava_like()).only(()) == variants_of(llava_like())
    assert variants_of(unsaturated()).only(("ivr",)).missing == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("IVR", r"unknown variant; got IVR; expected full or ivr or ssr or ivr\+ssr or wrong_ssr"),
        ("ssr", "this profile has no variant 'ssr': the plan leaves Stage III alone"),
    ],
)
def test_a_variant_that_there_is_not(name: str, message: str) -> None:
    with pytest.raises(HalfVError, match=message):
        variants_of(unsaturated()).only((name,))
