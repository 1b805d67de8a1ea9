"""The page of a comparison of methods as text: it is complete, and text from the data stays inactive."""

import pytest

from probe.report.methods_chart import figure, lines, table
from probe.report.methods_page import render_methods, write_methods_page
from probe.report.methods_words import better, listed, verdicts
from probe.report.methods_words import tuned as words_of_tuning
from tests.comparisons import BUDGETS, comparison, tuned
from tests.unit.probe.report.test_report import HOSTILE, Page


def test_the_chart_has_every_point_with_its_interval_and_settings() -> None:
    found = comparison()
    fig = figure(found)
    points = {
        (trace.name, x): (y, text)
        for trace in fig.data
        if trace.text is not None
        for x, y, text in zip(trace.x, trace.y, trace.text, strict=True)
    }
    assert len(points) == len(found.rows) - 1
    for row in found.rows[1:]:
        kept, text = points[row.method, row.flops_ratio]
        assert kept == row.retention
        assert row.label in text and row.plan.describe()[0] in text
    by_name = {trace.name: trace for trace in fig.data if trace.text is not None}
    assert by_name["method-0"].error_y.visible and not by_name["random"].error_y.visible
    assert sum(trace.fill == "toself" for trace in fig.data) == 2  # the controls, as areas
    assert [shape.y0 for shape in fig.layout.shapes] == [1.0]


def test_lines_of_many_methods_differ() -> None:
    drawn = [line for line in lines(comparison(30)) if not line.rows[0].is_control]
    assert len({(line.color, line.dash, line.symbol) for line in drawn}) == len(drawn) == 31
    assert len({(line.color, line.symbol) for line in drawn}) == 31
    assert not any(trace.error_y.visible for trace in figure(comparison(30)).data)


def test_other_ways_to_count_flops_move_the_points() -> None:
    found = comparison(1)
    fig = figure(found)
    moved = fig.layout.updatemenus[0].buttons[2].args[0]["x"]
    model = [row.model_flops_ratio for row in found.rows if row.method == "method-0"]
    (place,) = [index for index, trace in enumerate(fig.data) if trace.name == "method-0"]
    assert list(moved[place]) == model


def test_the_table_has_all_numbers() -> None:
    found = comparison()
    columns, rows = table(found)
    assert len(rows) == len(found.rows) and all(len(row) == len(columns) for row in rows)
    row = dict(zip(columns, rows[-1], strict=True))
    last = found.rows[-1]
    assert (row["method"], row["budget"]) == (last.method, last.budget)
    assert row["kept"] == pytest.approx(last.retention, rel=1e-3)
    assert row["counting"] == pytest.approx(last.by_family["counting"], rel=1e-3)
    assert row["plan"] == last.plan.describe()[0]


def test_a_model_that_answers_nothing_right_is_drawn_too() -> None:
    found = comparison()
    nothing = {"retention": None, "retention_interval": None, "accuracy": 0.0}
    rows = tuple(row.model_copy(update=nothing) for row in found.rows)
    assert figure(found.model_copy(update={"rows": rows})).data == ()
    assert "tiny-llava" in render_methods([found.model_copy(update={"rows": rows})])


def test_the_words_say_where_the_own_plan_loses() -> None:
    found = comparison()
    profile = found.rows[1]
    assert better(found, profile) == []
    strong = found.rows[-1].model_copy(update={"retention": 0.99, "flops_ratio": 2.6})
    dear = found.rows[-2].model_copy(update={"retention": 0.99, "flops_ratio": 2.4})
    lost = found.model_copy(update={"rows": (*found.rows[:-2], dear, strong)})
    assert better(lost, profile) == [strong]
    assert verdicts(lost)[-1] == (f"This profile keeps 97.0% at 2.50x fewer FLOPs; it loses to {strong.label} (99.0%).")
    assert verdicts(found)[0].startswith("At 2x fewer FLOPs method-")
    assert len(verdicts(found)) == len(BUDGETS) + 1
    assert listed(["a", "b"]) == "a and b" and listed(list("abcdefg")) == "a, b, c, d, e and 2 more"


def test_the_page_says_everything() -> None:
    found = comparison()
    text = " ".join(Page(render_methods([found])).text.split())
    for words in (
        "Methods on tiny-llava",
        "vtw: needs a withdrawal curve",
        "uniform at 30x: cannot be set to this budget",
        "196 visual and 12 text tokens",
        "halfv-probe compare-methods --model tiny-llava --data scenes-heldout --flops 2,3,4",
        "in batches of 10",
    ):
        assert words in text
    assert render_methods([found]) == render_methods([found])


def test_what_tuning_chose_is_on_the_page() -> None:
    found = tuned()
    columns, rows = table(found)
    said = {row[0:2]: row[columns.index("tuned")] for row in rows}
    words = "layer 4: 0.850 on the tuning samples, default 0.810"
    assert said["method-0", 2.0] == words and said["random", 2.0] == ""
    assert any(words in text for trace in figure(found).data if trace.text is not None for text in trace.text)
    text = " ".join(Page(render_methods([found])).text.split())
    assert "chosen on 100 samples of scenes" in text and "Tuned on" in text and words in text
    assert "tuned" not in table(comparison())[0] and "Tuned on" not in Page(render_methods([comparison()])).text


def test_the_words_about_a_setting() -> None:
    row = next(row for row in tuned().rows if row.candidates)
    default, best, failed = row.candidates
    assert words_of_tuning(row.model_copy(update={"setting": ""})) == "default: 0.810 on the tuning samples, best of 3"
    assert words_of_tuning(row.model_copy(update={"candidates": (best,)})).endswith("default does not reach the budget")
    broken = default.model_copy(update={"accuracy": None, "failure": "no"})
    assert words_of_tuning(row.model_copy(update={"candidates": (broken, best)})).endswith("the default failed")
    assert words_of_tuning(row.model_copy(update={"setting": "layer 9", "candidates": (failed,)})) == "layer 9"
    assert words_of_tuning(row.model_copy(update={"setting": "", "candidates": ()})) == ""


def test_several_models_have_a_part_each() -> None:
    text = render_methods([comparison(), comparison(2, "tiny-qwen2.5-vl")])
    page = Page(text)
    headings = [tag for tag, _ in page.elements if tag in ("h1", "h2", "h3")]
    assert headings.count("h2") == 2 and "Methods on 2 models" in page.text
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_text_from_outside_stays_text() -> None:
    page = Page(render_methods([tuned(text=HOSTILE)]))
    tags = [tag for tag, _ in page.elements]
    assert "img" not in tags
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert len([one for one in scripts if "type" not in one]) == 4
    assert HOSTILE in page.text


def test_the_page_is_written_whole(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("page") / "m.html"
    write_methods_page([comparison()], path)
    assert path.read_text() == render_methods([comparison()])
