"""Predicted latency by hand, its monotonicity, and the files of latency tables."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfv_core import Freeze, Hide, Keep, Plan, Selection, When
from halfv_core.cost import LayerTokens
from halfv_core.devices import setting_of
from halfv_core.errors import DataError, PlanError, ProfileError
from halfv_core.latency import Choice, LatencyTable, choices_of, latency_ratio, plan_ms, predicted_ms, unmeasured
from halfv_core.profile import config_fingerprint
from tests.latency_tables import SETTING, TEXT, VISUAL, known_table
from tests.tiny import tiny_model

TABLE = known_table()


def test_a_prediction_by_hand() -> None:
    dense = 2 + 0.001 * 630 + 5 * (0.002 * 630 + 0.003 * (630 - 157) + 4e-6 * 630**2)
    assert plan_ms(TABLE, Plan(()), 600, 30) == pytest.approx(dense)
    rows = [LayerTokens(600, 30), LayerTokens(150, 30, frozen=150, past=20, absent=450)]
    first = 0.002 * 630 + 0.003 * (630 - 157) + 4e-6 * 630**2
    second = 0.002 * 30 + 0.25 + 0.0005 * 200 + 5e-6 * 30 * 200
    choice = 1 + 0.001 * 600 + 2e-6 * 600**2
    found = predicted_ms(TABLE, rows, [Choice("anchor_coverage", 600)])
    assert found == pytest.approx(2 + 0.001 * 630 + 0.5 + first + second + choice)


def test_the_ratio_is_that_of_the_two_predictions() -> None:
    plan = Plan((Keep(layer=1, keep_ratio=0.25), Freeze(layers=[3, 4])))
    ratio = latency_ratio(TABLE, plan, VISUAL, TEXT)
    assert ratio == plan_ms(TABLE, Plan(()), VISUAL, TEXT) / plan_ms(TABLE, plan, VISUAL, TEXT) > 1.5
    assert latency_ratio(TABLE, Plan(()), VISUAL, TEXT) == 1
    with pytest.raises(PlanError, match="got layer 5; expected 0..4"):
        latency_ratio(TABLE, Plan((Freeze(layers=[5]),)), VISUAL, TEXT)


def test_choices_are_those_in_which_some_tokens_are_chosen_and_some_are_not() -> None:
    plan = Plan(
        (
            Keep(layer=0, keep_ratio=1.0, selector="uniform"),
            Keep(layer=1, keep_ratio=0.5),
            Freeze(layers=[2, 4], tokens=10, selector="attention"),
            Keep(layer=5, tokens=40, selector="uniform"),
            Hide(layers=[6, 7]),
            Keep(layer=8, tokens=0),
        )
    )
    wanted = [("anchor_coverage", 100), ("attention", 50), ("attention", 50), ("uniform", 50)]
    assert choices_of(plan, 9, 100) == tuple(Choice(*each) for each in wanted)
    assert choices_of(plan, 2, 100) == (Choice("anchor_coverage", 100),)
    assert choices_of(plan, 9, 0) == ()


def test_a_selector_that_was_not_measured_counts_as_the_slowest() -> None:
    plans = {name: Plan((Keep(layer=1, keep_ratio=0.5, selector=name),)) for name in ("divprune", *TABLE.selectors)}
    found = {name: plan_ms(TABLE, plan, VISUAL, TEXT) for name, plan in plans.items()}
    assert found["divprune"] == max(found.values()) == found["anchor_coverage"]


def test_it_says_what_was_not_measured() -> None:
    assert unmeasured(TABLE, Plan((Keep(layer=1, keep_ratio=0.5), Freeze(layers=[3]))), VISUAL, TEXT) == ()
    plan = Plan(
        (
            Keep(layer=2, keep_ratio=0.5, selector="divprune", merge="prumerge"),
            When(rule="contribution", from_layer=3, then=Selection(tokens=3)),
        )
    )
    found = unmeasured(TABLE, plan, VISUAL, TEXT + 1)
    assert [reason.split()[0] for reason in found] == ["631", "choices", "merging", "the"]


tokens = st.integers(0, 400)
row = st.tuples(tokens, st.integers(1, 60), st.floats(0, 1), st.integers(0, 50))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(row, min_size=1, max_size=6),
    st.integers(0, 5),
    st.integers(1, 100),
    st.dictionaries(st.sampled_from(sorted(TABLE.coefficients)), st.floats(0, 10)),
)
def test_more_tokens_never_take_less_time(
    drawn: list[tuple[int, int, float, int]], which: int, more: int, milliseconds: dict[str, float]
) -> None:
    """Whatever the coefficients: more visual or text tokens, past tokens, candidates, or queries of a frozen layer."""
    table = known_table(coefficients=TABLE.coefficients | milliseconds)
    rows = [LayerTokens(visual, text, frozen=int(visual * share), past=past) for visual, text, share, past in drawn]
    index, choices = which % len(rows), [Choice("attention", 100)]
    one, before = rows[index], predicted_ms(table, rows, choices)
    longer = [one._replace(visual=one.visual + more), one._replace(text=one.text + more), one._replace(past=more + 50)]
    if one.frozen:
        longer += [
            one._replace(frozen=max(1, one.frozen - more)),
            one._replace(visual=one.visual + 1, frozen=one.frozen + 1),
        ]
    for other in longer:
        assert predicted_ms(table, [*rows[:index], other, *rows[index + 1 :]], choices) >= before * (1 - 1e-12)
    assert predicted_ms(table, rows, [Choice("attention", 100 + more)]) >= before * (1 - 1e-12)
    assert predicted_ms(table, rows, [*choices, Choice("scope", more)]) >= before * (1 - 1e-12)


def test_a_table_reads_back(tmp_path: Path) -> None:
    TABLE.save(tmp_path / "deep" / "latency.json")
    assert LatencyTable.load(tmp_path / "deep" / "latency.json") == TABLE


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"coefficients": TABLE.coefficients | {"queries": -1.0}}, "greater than or equal to 0"),
        (
            {"coefficients": TABLE.coefficients | {"queries above 9": 1.0}},
            "not those of bends and selectors: queries above 9",
        ),
        ({"coefficients": {}}, "not those of bends and selectors: candidates of anchor_coverage"),
        ({"layers": 2}, "a plan names layer 2 of 2 layers"),
        ({"layers": 10**9}, "less than or equal to"),
        ({"prefills": []}, "prefills"),
        ({"schema_version": 2}, "schema_version"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_bad_table_is_one_line(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "latency.json"
    path.write_text(json.dumps(TABLE.model_dump(mode="json") | change))
    with pytest.raises(DataError) as caught:
        LatencyTable.load(path)
    line = str(caught.value)
    assert line.startswith(f"cannot read latency table {path}") and words in line and "\n" not in line


def test_a_damaged_or_missing_file_is_one_line(tmp_path: Path) -> None:
    TABLE.save(tmp_path / "whole.json")
    whole = (tmp_path / "whole.json").read_bytes()
    contents = {
        "half": whole[:500],
        "list": b"[]",
        "nest": b"[" * 100_000,
        "binary": b"\xff\x00",
        "digits": b"9" * 5000,
    }
    bad_plan = whole.replace(b'"layer": 1', b'"layer": -1', 1)
    for name, content in (contents | {"plan": bad_plan}).items():
        (tmp_path / name).write_bytes(content)
    for name in (*contents, "plan", "none"):
        with pytest.raises(DataError, match="cannot read latency table .*make it again with") as caught:
            LatencyTable.load(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_another_model_or_machine_is_refused() -> None:
    model = tiny_model("qwen2_5_vl")
    here, fingerprint = setting_of(model), config_fingerprint(model.config)
    assert (here.dtype, here.kernel) == ("float32", "sdpa") and here.threads and here.device
    table = known_table(config_fingerprint=fingerprint, setting=here)
    table.check(model.config, here)
    with pytest.raises(ProfileError, match="measured for another model; got llava with config .*expected tiny"):
        table.check(tiny_model("llava").config, here)
    for change in ({"device": "another"}, {"dtype": "bfloat16"}, {"kernel": "eager"}, {"threads": 64}):
        with pytest.raises(ProfileError, match="on another machine or in another way; got .*; measure one"):
            table.check(model.config, here.model_copy(update=change))
    with pytest.raises(ProfileError, match="a processor, float32, sdpa, 1 threads"):
        known_table(config_fingerprint=fingerprint).check(model.config, SETTING.model_copy(update={"threads": None}))
