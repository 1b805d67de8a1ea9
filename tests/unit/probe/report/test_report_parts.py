"""The parts of the page: the command, the depth bar, table cells, figures as JSON, verdicts side by side."""

import json
import shlex
import subprocess

import plotly.graph_objects as go
import pytest

from halfv_core.profile import Profile
from halfv_core.records import BoundaryUncertainty, Winner
from probe.report.command import reproduce
from probe.report.depth import boundary_marks, depth_bar
from probe.report.drawing import Drawing, drawings, file_name
from probe.report.embed import embed
from probe.report.figures import Subject, Table
from probe.report.labels import verdict_rows
from tests import profiles, proven_profiles

HOSTILE = "a b'; $(touch owned) </script><a href='javascript:1'>x</a>"


def given(**arguments: object) -> Profile:
    profile = profiles.qwen_like()
    where = profile.provenance.model_copy(update={"arguments_given": arguments})
    return profile.model_copy(update={"provenance": where})


def drawing(table: Table) -> Drawing:
    return Drawing("m1-x", "X", "", "", go.Figure(), table, "m1-x", "x")


def test_the_command_has_what_was_given_and_nothing_else() -> None:
    profile = given(
        model="m",
        keep_ratio=[0.1, 0.25],
        release_curve=True,
        fetch_images=False,
        split=None,
        report="r.html",
        as_json=True,
    )
    assert reproduce(profile) == (
        "halfv-probe calibrate --model m --data scenes --keep-ratio 0.1 --keep-ratio 0.25 --release-curve"
    )


def test_the_command_cannot_break_out_of_its_quotes() -> None:
    assert shlex.split(reproduce(given(data=HOSTILE)))[-2:] == ["--data", HOSTILE]


@pytest.mark.parametrize("text", ["x\x03\ntouch owned\n#", "\x1b[201~rm it\r", "a\tb'c\\d\\'", "\x9b\x7f$(x)\x07é0"])
@pytest.mark.parametrize("name", ["data", "model"])
def test_a_pasted_command_holds_no_control_characters(name: str, text: str) -> None:
    command = reproduce(given(**{name: text}))
    assert command.isprintable()
    script = f"printf '%s\\0' {command}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, env={"LC_ALL": "C.UTF-8"}, check=True)
    words = done.stdout.decode().split("\0")
    assert words[words.index(f"--{name}") + 1] == text


@pytest.mark.parametrize(("layers", "numbers"), [(12, 12), (28, 6), (80, 8)])
def test_the_depth_bar_has_as_many_numbers_as_fit(layers: int, numbers: int) -> None:
    plan = profiles.unsaturated().plan
    cells = depth_bar(profiles.build(layers, 4, None, plan, "none"))
    assert len(cells) == layers
    assert len([cell for cell in cells if cell.number]) == numbers


def test_an_interval_that_ends_in_no_such_stage_reaches_the_end_of_the_bar() -> None:
    profile = profiles.qwen_like()
    assert profile.uncertainty is not None
    open_end = BoundaryUncertainty(low=20, median=21, high=None, wins=(Winner(layer=21, share=1.0),))
    unsure = profile.uncertainty.model_copy(update={"saturation_start": open_end})
    second, third = boundary_marks(profile.model_copy(update={"uncertainty": unsure}))
    assert (second.low, second.high, second.interval) == (2 / 28, 2 / 28, "2")
    assert (third.low, third.high, third.interval) == (20 / 28, 1.0, "20–none")


def test_cells_show_little_and_hold_all() -> None:
    rows = (("a", 1 / 3, 2, True, None), ("<b>", 0.5, None, False, "=1"))
    shown = drawing(Table(("name", "share", "count", "safe", "note"), rows)).rows
    assert shown[0] == (
        '<th scope="row">a</th><td class="number" data-value="0.3333333333333333">0.333333</td>'
        '<td class="number">2</td><td data-value="true">yes</td><td class="number"></td>'
    )
    assert shown[1].startswith('<th scope="row">&lt;b&gt;</th><td class="number">0.5</td><td class="number"></td>')
    assert '<th scope="col" class="number">share</th>' in drawing(Table(("name", "share"), (("a", 0.5),))).head


def test_equal_tables_are_held_once() -> None:
    drawn = drawings([Subject(profiles.qwen_like())], "m1")
    assert drawn["spectrum"].holds_table and not drawn["spectrum_3d"].holds_table
    assert drawn["spectrum_3d"].table_id == drawn["spectrum"].id


def test_figures_share_what_is_long_and_keep_their_values() -> None:
    long = [index / 7 for index in range(40)]
    figures = {name: go.Figure(go.Scatter(x=long, y=[1, 2], name=name)) for name in ("one", "two")}
    found = embed(figures)
    shared = json.loads(found["shared"])
    trace = json.loads(found["two"])["data"][0]
    assert trace["y"] == [1, 2] and trace["name"] == "two"
    assert shared[trace["x"]["$"]] == pytest.approx(long, rel=1e-6)
    assert json.loads(found["one"])["data"][0]["x"] == trace["x"]


def test_text_in_a_figure_can_neither_end_its_script_nor_be_a_link() -> None:
    found = embed({"x": go.Figure(go.Scatter(x=[0], y=[0], name=HOSTILE, text=["a<br>b<sup>2</sup>"]))})["x"]
    assert "<" not in found
    trace = json.loads(found)["data"][0]
    assert "<a" not in trace["name"] and "&lt;a href" in trace["name"]
    assert trace["text"] == ["a<br>b<sup>2</sup>"]


def test_verdicts_stand_side_by_side() -> None:
    rows = dict(verdict_rows([profiles.qwen_like(), profiles.unsaturated()]))
    assert rows["Stage III begins"] == ["layer 21", "never"]
    assert rows["Same answers, held out"] == ["95 %", "not measured"]


def test_verdicts_of_old_and_new_profiles_stand_side_by_side() -> None:
    new = [proven_profiles.proven(), proven_profiles.not_needed()]
    rows = dict(verdict_rows([profiles.qwen_like(), *new]))
    assert rows["Estimated retention"] == ["not measured", "97.8 %", "97.8 %"]
    assert rows["Held-out retention"] == ["not measured", "96.8 %", "not measured"]
    assert rows["Proven retention"] == ["not measured", "at least 94.1 %", "nothing"]
    assert list(rows)[-1] == "Cautions"
    assert "Proven retention" not in dict(verdict_rows([profiles.qwen_like()]))


def test_file_names_are_tame() -> None:
    assert file_name("../org/Model 7B;", "entropy") == "org-Model-7B-entropy"
