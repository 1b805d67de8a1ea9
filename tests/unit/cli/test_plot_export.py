"""`halfv-probe plot --export`: every chart as a file, for one or several profiles."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.plot import stems
from halfv_core.errors import HalfVError
from probe.report.export import export
from probe.report.figures import Subject
from tests import profiles


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "a" / "profile.json"
    profiles.qwen_like().save(path)
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working folder of the commands."""
    monkeypatch.chdir(tmp_path)


def test_every_chart_becomes_a_file(profile: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["plot", str(profile), "--export", "csv,json", "figures"])
    expected = [path.name for path in export({"profile": Subject(profiles.qwen_like())}, "csv", tmp_path / "again")]
    lines = [f"{kind}: {len(expected)} files in figures" for kind in ("csv", "json")]
    assert (result.exit_code, result.stdout.splitlines()) == (0, ["report: report.html", *lines])
    assert sorted(path.name for path in Path("figures").glob("*.csv")) == sorted(expected)
    assert len(list(Path("figures").iterdir())) == 2 * len(expected)


def test_json_names_the_files(profile: Path) -> None:
    result = CliRunner().invoke(app, ["plot", str(profile), "--export", "csv", "figures", "--json"])
    assert "figures/profile-entropy.csv" in json.loads(result.stdout)["exported"]["csv"]


def test_several_profiles_of_one_name_are_told_apart(profile: Path, tmp_path: Path) -> None:
    other = tmp_path / "b" / "profile.json"
    profiles.llava_like().save(other)
    result = CliRunner().invoke(app, ["plot", str(profile), str(other), "--export", "csv", "figures"])
    assert result.exit_code == 0
    assert "<h1>2 models compared</h1>" in Path("report.html").read_text()
    names = {path.name.split("-entropy")[0] for path in Path("figures").glob("*-entropy.csv")}
    assert names == {"a-profile", "b-profile", "comparison"}


def test_an_unknown_format_is_refused_before_anything_is_written(profile: Path) -> None:
    result = CliRunner().invoke(app, ["plot", str(profile), "--export", "csv,gif", "figures"])
    assert isinstance(result.exception, HalfVError)
    assert str(result.exception) == "unknown --export format; got 'gif'; expected one of png, svg, pdf, csv, json"
    assert not Path("figures").exists() and not Path("report.html").exists()


def test_a_folder_that_cannot_be_written_is_named(profile: Path) -> None:
    result = CliRunner().invoke(app, ["plot", str(profile), "--export", "csv", str(profile)])
    assert isinstance(result.exception, HalfVError)
    assert str(result.exception) == f"cannot write {profile}: File exists; choose another folder for --export"


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a/run/p.json", "b/run/p.json"], ["run-p", "run-p-2"]),
        (["a/run/p.json", "b/run/p.json", "run-p.json"], ["run-p", "run-p-2", "run-p-3"]),
        (["a/p.json", "b/p.json"], ["a-p", "b-p"]),
        (["A.json", "a.json"], ["A", "a-2"]),
        (["comparison.json"], ["comparison"]),
        (["comparison.json", "p.json"], ["comparison-2", "p"]),
        (["x/p.json", "x/p.json"], ["x-p", "x-p-2"]),
    ],
)
def test_prefixes_are_different(paths: list[str], expected: list[str]) -> None:
    assert stems(list(map(Path, paths))) == expected


def test_no_chart_overwrites_a_profile_or_the_page(profile: Path) -> None:
    chart = profile.with_name("profile-entropy.json")
    profile.rename(chart)
    for words in (
        ["plot", str(chart), str(chart.with_name("profile.json")), "--export", "json", str(chart.parent)],
        ["plot", "p.json", "--output", "figures/p-entropy.csv", "--export", "csv", "figures"],
    ):
        profiles.qwen_like().save(profile)
        profiles.qwen_like().save(Path("p.json"))
        result = CliRunner().invoke(app, words)
        assert isinstance(result.exception, HalfVError)
        assert "--export would overwrite another file of this command; got " in str(result.exception)
