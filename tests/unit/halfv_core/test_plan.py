"""Plans: order, counting, refusals, and the round trip through JSON."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfv_core import Freeze, HalfVError, Hide, Keep, Plan, Selection, When


def test_interventions_stand_in_the_order_of_their_layers() -> None:
    plan = Plan((Freeze(layers=range(5, 8)), Keep(layer=6, keep_ratio=0.1), Keep(layer=2, keep_ratio=0.5)))
    assert [type(item).__name__ for item in plan.interventions] == ["Keep", "Freeze", "Keep"]
    assert plan.frozen_layers == {5, 6, 7}
    assert plan.last_layer == 7


@given(visual=st.integers(1, 5000), ratio=st.floats(0, 1))
def test_count_is_the_floor_and_at_least_one(visual: int, ratio: float) -> None:
    count = Keep(layer=1, keep_ratio=ratio).count(visual)
    assert count == (0 if ratio == 0 else max(1, math.floor(visual * ratio)))
    assert count <= visual


@given(visual=st.integers(0, 5000), tokens=st.integers(0, 6000))
def test_a_number_of_tokens_is_kept_exactly_if_there_are_so_many(visual: int, tokens: int) -> None:
    keep = Keep(layer=1, tokens=tokens)
    assert keep.count(visual) == min(tokens, visual)
    if visual:
        assert keep.share(visual) == min(tokens, visual) / visual
    assert Keep.model_validate_json(keep.model_dump_json()) == keep
    assert ("drop all" in keep.describe()) == (tokens == 0)


def test_files_of_plans_with_shares_are_as_before() -> None:
    assert Keep(layer=1, keep_ratio=0.5).model_dump() == {
        "kind": "keep",
        "layer": 1,
        "keep_ratio": 0.5,
        "selector": "anchor_coverage",
        "options": {},
    }


@given(
    layers=st.lists(st.integers(1, 60), min_size=1, max_size=3, unique=True),
    frozen=st.sets(st.integers(1, 60), max_size=5),
)
def test_round_trip(layers: list[int], frozen: set[int]) -> None:
    items: list[Keep | Freeze] = [Keep(layer=layer, keep_ratio=0.3, options={"anchor_share": 0.2}) for layer in layers]
    plan = Plan([*items, *([Freeze(layers=frozen)] if frozen else [])])
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Keep(layer=0, keep_ratio=0.5), "there is no layer before layer 0"),
        (lambda: Keep(layer=1), "a Keep has a share or a number of tokens; got neither; expected keep_ratio=0.25, or"),
        (
            lambda: Keep(layer=1, keep_ratio=0.5, tokens=3),
            "share or a number of tokens; got keep_ratio=0.5 and tokens=3",
        ),
        (lambda: Keep(layer=1, tokens=-1), "tokens: Input should be greater than or equal to 0, got -1"),
        (lambda: Keep(layer=1, tokens=2.5), "tokens: Input should be a valid integer"),
        (
            lambda: Plan((Keep(layer=1, tokens=3), Keep(layer=2, tokens=4))),
            "dropped do not come back; got 3 tokens at layer 1, 4 tokens at layer 2",
        ),
        (lambda: Keep(layer=1, keep_ratio=1.5), "keep_ratio: Input should be less than or equal to 1, got 1.5"),
        (lambda: Keep(layer=1, keep_ratio=float("nan")), "keep_ratio"),
        (
            lambda: Keep(layer=1, keep_ratio=0.5, selector="best"),
            "unknown selector; got 'best'; expected one of aim",
        ),
        (lambda: Keep(layer=1, keep_ratio=0.5, selector="uniform", options={"seed": 1}), "has no option 'seed'"),
        (
            lambda: Keep(layer=1, keep_ratio=0.5, options={"scoring": "x"}),
            "scoring: Input should be 'attention' or",
        ),
        (lambda: Keep(layer=1, keep_ratio=0.5, options={"anchor_share": 2}), "anchor_share is a share; got 2"),
        (
            lambda: Keep(layer=1, keep_ratio=0.5, options={"anchor_share": "much"}),
            "anchor_share: Input should be",
        ),
        (
            lambda: Keep(layer=1, keep_ratio=0.5, selector="random", options={"seed": "x"}),
            "seed: Input should be",
        ),
        (lambda: Freeze(layers=[]), "layers"),
        (lambda: Freeze(layers=[-1, 1]), "layers.0"),
        (lambda: Plan((Keep(layer=1, keep_ratio=0.5), Keep(layer=1, keep_ratio=0.5))), "two keeps at one layer"),
        (lambda: Plan((Keep(layer=1, keep_ratio=0.2), Keep(layer=2, keep_ratio=0.5))), "what is kept grows with depth"),
        (lambda: Plan((Freeze(layers=[1]), Freeze(layers=[1, 2]))), "a layer is frozen twice"),
        (lambda: Plan((Freeze(layers=[9]),)).check_depth(9), "got layer 9; expected 0..8"),
        (lambda: Plan((Hide(layers=[9]),)).check_depth(9), "got layer 9; expected 0..8"),
        (
            lambda: Plan((When(rule="contribution", from_layer=9, then=Selection(tokens=3)),)).check_depth(9),
            "got layer 9; expected 0..8",
        ),
        (lambda: Keep(layer=-1, keep_ratio=0.5), "layer: Input should be greater than or equal to 0, got -1"),
        (lambda: Keep(layer=0, keep_ratio=0.5, selector="v2drop"), "there is no layer before layer 0"),
        (lambda: Hide(layers=[0, 1], tokens=3, selector="attention"), "there is no layer before layer 0"),
        (lambda: Freeze(layers=[0, 1], tokens=3, selector="attention"), "there is no layer before layer 0"),
        (
            lambda: Keep(layer=1, selector="visipruner", tokens=3),
            "selector 'visipruner' decides how many tokens it keeps",
        ),
        (lambda: Keep(layer=1, keep_ratio=0.5, merge="best"), "unknown merge; got 'best'; expected one of aim"),
        (lambda: Keep(layer=1, keep_ratio=0.5, merge="aim", merge_options={"x": 1}), "merge 'aim' has no option 'x'"),
        (lambda: Keep(layer=1, keep_ratio=0.5, merge_options={"x": 1}), "options of a merge without a merge"),
        (lambda: Keep(layer=1, keep_ratio=0.5, positions="new"), "positions: Input should be 'kept' or 'renumbered'"),
        (lambda: Keep(layer=1, keep_ratio=0.5, cache="here"), "cache: Input should be 'onward' or 'everywhere'"),
        (lambda: Hide(layers=[]), "layers"),
        (lambda: Hide(layers=[1], keep_ratio=2), "keep_ratio: Input should be less than or equal to 1, got 2"),
        (lambda: Freeze(layers=[1], keep_ratio=0.5, tokens=2), "a Freeze has a share or a number of tokens"),
        (
            lambda: When(rule="luck", from_layer=1, then=Selection(tokens=3)),
            "unknown rule; got 'luck'",
        ),
        (
            lambda: When(rule="contribution", from_layer=0, then=Selection(tokens=3)),
            "from_layer: Input should be",
        ),
        (lambda: When(rule="contribution", from_layer=1), "then: Field required"),
        (lambda: Plan((Hide(layers=[1]), Hide(layers=[1, 2]))), "a layer is hidden twice"),
        (lambda: Plan((Hide(layers=[1]), Freeze(layers=[1, 2]))), "a layer is both frozen and hidden; got [1]"),
        (
            lambda: Plan((Hide(layers=[1, 2]), Keep(layer=2, keep_ratio=0.5))),
            "a Keep stands inside layers",
        ),
        (lambda: Plan((Hide(layers=[1, 2]), Keep(layer=3, keep_ratio=0.5))), "layer 2, where they are hidden"),
        (
            lambda: Plan(
                (
                    Freeze(layers=[4, 5], keep_ratio=0.5),
                    When(rule="contribution", from_layer=3, then=Selection(keep_ratio=0)),
                )
            ),
            "a When may prune inside layers",
        ),
    ],
)
def test_a_bad_plan_is_one_clear_line(make: object, said: str) -> None:
    with pytest.raises(HalfVError) as caught:
        make()  # type: ignore[operator]
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plan_describes_itself() -> None:
    plan = Plan(
        (Keep(layer=2, keep_ratio=0.25, selector="uniform"), Keep(layer=3, keep_ratio=0), Freeze(layers=[4, 6]))
    )
    assert plan.describe() == [
        "layer 2: keep 0.25 of the visual tokens by uniform",
        "layer 3: drop all visual tokens",
        "layers 4, 6: freeze the visual tokens (keys and values only)",
    ]


GROWN = Plan(
    (
        Keep(layer=0, tokens=64, selector="divprune"),
        Keep(
            layer=4,
            keep_ratio=0.3,
            selector="sparsevlm",
            positions="renumbered",
            merge="sparsevlm",
            cache="everywhere",
        ),
        Keep(layer=5, selector="visipruner"),
        Hide(layers=[1, 2], keep_ratio=0.5, selector="uniform"),
        Freeze(layers=[7, 8], tokens=3, selector="attention"),
        When(rule="contribution", from_layer=9, then=Selection(selector="visipruner")),
        When(rule="exhausted", options={"layers": 3}, from_layer=9, then=Selection(keep_ratio=0.0)),
    )
)


def test_every_kind_is_read_back_as_it_was_written() -> None:
    assert Plan.model_validate_json(GROWN.model_dump_json()) == GROWN


def test_every_kind_describes_itself() -> None:
    assert GROWN.describe() == [
        "layer 0: keep 64 visual tokens by divprune",
        "layers 1-2: hide all but 0.5 of the visual tokens by uniform (they come back afterwards)",
        "layer 4: keep 0.3 of the visual tokens by sparsevlm, merge the others by sparsevlm, number positions anew, "
        "in all layers' caches",
        "layer 5: keep those of the visual tokens that pass by visipruner",
        "layers 7-8: freeze all but 3 visual tokens by attention (keys and values only)",
        "from layer 9, once contribution holds: keep those of the visual tokens that pass by visipruner",
        "after that, from layer 9, once exhausted (layers 3) holds: drop all visual tokens",
    ]


def test_files_of_older_plans_stay_as_they_were() -> None:
    """Fingerprints of profiles and journals are made of these bytes."""
    plan = Plan((Keep(layer=2, keep_ratio=0.25, options={"anchor_share": 0.1}), Freeze(layers=[4, 5])))
    assert plan.model_dump_json() == (
        '{"interventions":[{"kind":"keep","layer":2,"keep_ratio":0.25,"selector":"anchor_coverage",'
        '"options":{"anchor_share":0.1}},{"kind":"freeze","layers":[4,5]}]}'
    )


def test_a_plan_with_rules_does_not_know_its_cost_beforehand() -> None:
    assert not GROWN.is_known_beforehand
    assert Plan((Keep(layer=2, keep_ratio=0.25), Hide(layers=[4], tokens=3, selector="uniform"))).is_known_beforehand
