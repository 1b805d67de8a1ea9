"""`analyze --report` and `plot analysis.json` write the same page; what cannot be plotted is said in one line."""

import csv
import json
import sys
from math import isnan
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from halfv_core.models import load_model
from probe import Analysis
from probe.report.analysis_export import analysis_files, export_analysis
from probe.report.analysis_page import render_analysis
from tests.analyses import analysis
from tests.checkpoints import save_checkpoint
from tests.profiles import llava_like
from tests.unit.probe.calibration.test_calibrate import write_samples
from tests.unit.probe.evaluation.test_ablation import tiny_profile


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run `halfv-probe ...` in this process; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["halfv-probe", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_the_page_of_a_measured_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    save_checkpoint("llava", folder / "model")
    tiny_profile(load_model(str(folder / "model"), device="cpu").model).save(folder / "profile.json")
    write_samples(folder, 3)
    measured = ["analyze", "--model", "./model", "--data", "data.jsonl", "--probes", "shares", "--max-new-tokens", "2"]
    wanted = ["--examples", "1", "--profile", "profile.json", "--output", "a.json", "--report", "new/a.html"]
    assert run(*measured, *wanted, monkeypatch=monkeypatch) == 0
    assert "wrote a.json and new/a.html" in capfd.readouterr().err
    page = (folder / "new" / "a.html").read_text(encoding="utf-8")
    assert page == render_analysis(Analysis.load("a.json"))
    for part in ("Where the last prompt token looks", "alignment</strong>", 'id="p1-1"', 'id="p1-2"'):
        assert part in page
    assert "--report" not in page and "--profile profile.json" in page  # in the command that makes it again
    assert run("plot", "a.json", "--output", "b.html", "--json", monkeypatch=monkeypatch) == 0
    assert json.loads(capfd.readouterr().out) == {"report": "b.html", "bytes": len(page.encode())}
    assert (folder / "b.html").read_text(encoding="utf-8") == page


def test_charts_and_numbers_are_exported(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    analysis(layers=4, samples=3, examples=1, side=2).save(folder / "a.json")
    wanted = ["--export", "csv,json", "charts", "--json"]
    assert run("plot", "a.json", *wanted, monkeypatch=monkeypatch) == 0
    told = json.loads(capfd.readouterr().out)["exported"]
    probes = [result.name for result in Analysis.load("a.json").results]
    assert told == {kind: [f"charts/a-{name}.{kind}" for name in probes] for kind in ("csv", "json")}
    assert sorted(path.name for path in Path("charts").iterdir()) == sorted(
        f"a-{name}.{kind}" for name in probes for kind in ("csv", "json")
    )
    frame = Analysis.load("a.json").to_frame()
    for name in probes:
        with Path(f"charts/a-{name}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        own = frame[frame.probe == name]
        assert len(rows) == len(own)
        assert [row["value"] for row in rows] == ["" if isnan(value) else str(value) for value in own.value]
        assert json.loads(Path(f"charts/a-{name}.json").read_text(encoding="utf-8"))["name"] == name


def test_every_chart_of_the_page_is_a_picture(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is drawn here; that pictures are drawn is tested with those of a profile."""
    drawn: list[tuple[list[str], int]] = []

    def draw(figures: list[Any], paths: list[Path], **options: Any) -> None:
        drawn.append(([path.name for path in paths], options["width"]))
        for path in paths:
            path.write_bytes(b"%PDF")

    monkeypatch.setattr("probe.report.export.find_spec", lambda name: object())
    monkeypatch.setattr("plotly.io.write_images", draw)
    found = analysis(layers=4, samples=3, examples=1, side=2)
    paths = export_analysis(found, "a", "pdf", folder / "charts")
    assert paths == list(analysis_files(found, "a", ["pdf"], folder / "charts"))
    assert drawn == [([path.name for path in paths], 650)]
    assert len(paths) == render_analysis(found).count('class="chart"') and len(set(paths)) == len(paths)


def damaged() -> str:
    data = analysis(layers=4, samples=3, examples=0, side=2).model_dump(mode="json")
    return json.dumps(data | {"layers": "many"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.json", "a.json"], "a page shows one analysis; got 2 files; plot them one by one"),
        (["a.json", "profile.json"], "a page shows one analysis; got 2 files"),
        (["a.json", "--export", "gif", "charts"], "gif"),
        (["damaged.json"], "damaged.json is not an analysis: layers: "),
        (["a.json", "--output", "a.json"], "--output would overwrite another file of this command; got a.json"),
    ],
)
def test_what_cannot_be_plotted_is_refused_in_one_line(
    arguments: list[str], message: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    analysis(layers=4, samples=3, examples=0, side=2).save(folder / "a.json")
    llava_like().save(folder / "profile.json")
    (folder / "damaged.json").write_text(damaged(), encoding="utf-8")
    assert run("plot", *arguments, monkeypatch=monkeypatch) == 2
    told = capfd.readouterr().err
    assert message in told and told.count("\n") == 1
    assert not (folder / "report.html").exists() and not (folder / "charts").exists()
    assert Analysis.load("a.json").layers == 4


def test_a_report_that_cannot_be_written_costs_no_measuring(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["analyze", "--model", "missing", "--output", "a.json", "--report", "a.json"]
    assert run(*arguments, monkeypatch=monkeypatch) == 2
    assert "--report would overwrite another file of this command" in capfd.readouterr().err
