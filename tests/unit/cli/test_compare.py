"""`halfv-probe compare` as a user runs it: table, JSON, exit codes, and no markup from text in a profile."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app, main
from halfv_core.plan import Plan
from halfv_core.profile import Profile
from tests import profiles


def saved(folder: Path, name: str, profile: Profile) -> str:
    profile.save(folder / name)
    return str(folder / name)


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    return [saved(tmp_path, "a.json", profiles.qwen_like()), saved(tmp_path, "b.json", profiles.llava_like())]


def test_a_table_and_a_verdict(pair: list[str]) -> None:
    done = CliRunner().invoke(app, ["compare", *pair], env={"COLUMNS": "120"})
    assert done.exit_code == 0
    words = " ".join(done.stdout.split())
    for part in (
        "Stage III begins 21 (20–21) 15 (15–15) disagree",
        "saturation type token_sparsity layer_inactivity disagree",
        "share kept at Stage II 0.25 0.5",
        "prefill FLOPs, x fewer 3.31 3.31",
        "model qwen2.5-vl-7b llava-1.5-7b",
        "rank correlation",
        "The profiles disagree: Stage II begins at layer 2 in A and at layer 3 in B",
    ):
        assert part in words


def test_json_says_it_in_one_object(pair: list[str]) -> None:
    done = CliRunner().invoke(app, ["compare", *pair, "--json"])
    answer = json.loads(done.stdout)
    assert (answer["agree"], answer["same_model"], answer["types"]) == (
        False,
        True,
        ["token_sparsity", "layer_inactivity"],
    )
    assert answer["verdict"].startswith("The profiles disagree")
    assert [boundary["name"] for boundary in answer["boundaries"]] == ["aggregation_start", "saturation_start"]


@pytest.mark.parametrize(("flags", "code"), [([], 0), (["--strict"], 1), (["--strict", "--json"], 1)])
def test_only_strict_turns_disagreement_into_an_exit_code(pair: list[str], flags: list[str], code: int) -> None:
    assert CliRunner().invoke(app, ["compare", *pair, *flags]).exit_code == code
    assert CliRunner().invoke(app, ["compare", pair[0], pair[0], *flags]).exit_code == 0


def test_text_from_a_profile_is_not_markup(tmp_path: Path) -> None:
    name = "[bold]x[/bold] [/nonsense]"
    hostile = saved(tmp_path, "h.json", profiles.build(12, 4, 5, Plan(()), "none", model_id=name))
    plain = saved(tmp_path, "p.json", profiles.build(12, 4, 5, Plan(()), "none"))
    done = CliRunner().invoke(app, ["compare", hostile, plain], env={"COLUMNS": "200"})
    assert done.exit_code == 0 and name in done.stdout


@pytest.mark.parametrize("first", [True, False])
def test_a_bad_profile_is_one_line_and_exit_code_2(
    pair: list[str], first: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = ["gone.json", pair[0]] if first else [pair[0], "gone.json"]
    monkeypatch.setattr(sys, "argv", ["halfv-probe", "compare", *paths])
    with pytest.raises(SystemExit) as left:
        main()
    printed = capsys.readouterr()
    assert (left.value.code, printed.out) == (2, "")
    assert (
        printed.err.startswith("halfv-probe: cannot read profile gone.json: No such file")
        and printed.err.count("\n") == 1
    )
