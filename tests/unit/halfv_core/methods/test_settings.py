"""Published settings on models that they were not published for, and methods that measure first."""

import dataclasses

import pytest

from halfv_core import Freeze, Keep, Plan, Profile
from halfv_core.bundled import BUNDLED
from halfv_core.cost import DecoderShape
from halfv_core.errors import PlanError
from halfv_core.families import FAMILIES
from halfv_core.methods import METHODS, Measured, Target, measured_by, plan_at
from halfv_core.methods.settings import SEVERAL_ROTARIES, layer_at, share_of, staged
from halfv_core.profile import PublishedMethod
from tests.tiny import tiny_model

LLAVA = Target("llava", DecoderShape(32, 4096, 4096, 4096, 11008, 2), 576, 64, tower_layers=24)
QWEN = Target("qwen2_5_vl", DecoderShape(28, 3584, 3584, 512, 18944, 2), 1200, 64, tower_layers=32)
SMALL = Target("qwen2_5_vl", DecoderShape(5, 32, 32, 16, 48, 4), 16, 10, tower_layers=1)


def measuring(target: Target, **measured: object) -> Target:
    return dataclasses.replace(target, measured=Measured(**measured))  # type: ignore[arg-type]


def test_layers_keep_their_depth() -> None:
    deeper = dataclasses.replace(LLAVA, shape=dataclasses.replace(LLAVA.shape, layers=40))
    assert [layer_at(deeper, layer) for layer in (2, 8, 16, 24, 31)] == [2, 10, 20, 30, 39]
    assert [layer_at(SMALL, layer, 28) for layer in (0, 1, 2, 14, 27)] == [1, 1, 1, 2, 4]


def test_of_keeps_on_one_layer_the_last_counts() -> None:
    keeps = [Keep(layer=1, keep_ratio=0.5), Keep(layer=1, keep_ratio=0.2), Keep(layer=2, keep_ratio=0.1)]
    assert staged(keeps) == Plan(keeps[1:])


def test_shares_of_counts() -> None:
    assert all(int(whole * share_of(part, whole)) == part for whole in range(1, 400) for part in range(whole + 1))


def test_positions_are_renumbered_where_they_can_be() -> None:
    for model_type in FAMILIES:
        rope = tiny_model(model_type).config.get_text_config().rope_parameters
        several = "mrope_section" in rope or any(isinstance(value, dict) for value in rope.values())
        assert several == (model_type in SEVERAL_ROTARIES)


def test_a_target_is_read_from_a_config() -> None:
    target = Target.of(tiny_model("qwen2_5_vl").config, 16, 10)
    assert target == dataclasses.replace(SMALL, shape=dataclasses.replace(SMALL.shape, value_bytes=2))
    assert Target.of(tiny_model("llava").config, 16, 10).tower_layers == 2


def test_methods_of_the_vision_tower_are_refused_where_it_is_unknown() -> None:
    tower = {"visionzip", "vispruner", "holov", "hiprune", "scope", "apet", "visiondrop", "clse"}
    target = dataclasses.replace(measuring(LLAVA, layer_redundancy=(1.0,) * 32), model_type="internvl")
    assert {name for name, method in METHODS.items() if method().refusal(target)} >= tower
    assert {name for name, method in METHODS.items() if method().refusal(LLAVA)} == set()


def test_a_method_that_was_not_measured_says_so() -> None:
    assert "has to measure first" in str(METHODS["shortv"]().refusal(QWEN))
    with pytest.raises(PlanError, match="has to measure first"):
        plan_at(METHODS["shortv"](), QWEN, 2.0)


def test_shortv_freezes_the_layers_that_matter_least() -> None:
    curve = tuple(float(layer) for layer in range(28))
    assert METHODS["shortv"]().default(measuring(QWEN, layer_redundancy=curve)) == Plan((Freeze(layers=range(17)),))
    shipped = METHODS["shortv"]().default(measuring(LLAVA, layer_redundancy=tuple(map(float, range(32)))))
    assert len(shipped.frozen_layers) == 19 and {0, 2, 3, 31} <= shipped.frozen_layers


def test_vtw_withdraws_at_the_first_layer_that_allows_it() -> None:
    curve = (0.0, *[0.5] * 9, 0.0029, 0.4, *[0.001] * 16)
    assert METHODS["vtw"]().default(measuring(QWEN, withdrawal=curve)) == Plan((Keep(layer=10, keep_ratio=0.0),))
    assert METHODS["vtw"]().default(QWEN) == Plan((Keep(layer=14, keep_ratio=0.0),))
    with pytest.raises(PlanError, match="no layer is late enough"):
        METHODS["vtw"]().default(measuring(QWEN, withdrawal=(0.5,) * 28))


def test_fitprune_takes_the_measured_schedule_that_saves_as_much() -> None:
    removed = tuple(tuple(alpha / 20 for _ in range(28)) for alpha in range(21))
    plan = METHODS["fitprune"]().default(measuring(QWEN, removed=removed))
    assert [keep.layer for keep in plan.keeps] == [1]
    assert QWEN.cost(plan).visual_flops_ratio == pytest.approx(2.5, rel=0.01)


def test_hawk_has_weights_where_they_were_published_or_measured() -> None:
    def weights(target: Target) -> str:
        return str(METHODS["hawk"]().default(target).keeps[0].options.get("head_weights", ""))

    assert weights(QWEN).startswith("0.0875,0.3,") and weights(QWEN).count(",") == 27
    assert weights(LLAVA) == ""
    assert weights(measuring(LLAVA, head_weights=(0.5, 0.25))) == "0.5,0.25"


def test_a_budget_is_above_one() -> None:
    with pytest.raises(PlanError, match="expected a number above 1"):
        plan_at(METHODS["fastv"](), LLAVA, 1.0)


def test_what_a_profile_has_measured() -> None:
    profile = Profile.load(BUNDLED / "profiles" / "tiny-qwen2.5-vl.json")
    measured = measured_by(profile)
    assert measured.layer_redundancy == profile.curves.kl.mean
    assert measured.withdrawal == measured.removed == measured.head_weights == ()
    method = PublishedMethod(name="vtw", withdrawal=(0.5, 0.25), removed=((0.0, 0.5),), head_weights=(1.0,))
    measured = measured_by(profile.model_copy(update={"method": method}))
    assert (measured.withdrawal, measured.removed, measured.head_weights) == ((0.5, 0.25), ((0.0, 0.5),), (1.0,))
    assert measured.layer_redundancy == profile.curves.kl.mean


def test_vtw_takes_what_was_measured_before_what_was_published() -> None:
    assert METHODS["vtw"]().default(LLAVA) == Plan((Keep(layer=16, keep_ratio=0.0),))
    curve = (*[0.5] * 20, *[0.001] * 12)
    assert METHODS["vtw"]().default(measuring(LLAVA, withdrawal=curve)) == Plan((Keep(layer=20, keep_ratio=0.0),))
