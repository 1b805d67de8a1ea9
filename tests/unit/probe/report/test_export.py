"""Charts as files: data exactly as in the tables, pictures really drawn, and a one-line error where that fails."""

import csv
import io
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from halfv_core import HalfVError
from probe.report import export as module
from probe.report.export import ExportedChart, as_csv, as_json, export, for_paper
from probe.report.figures import CHARTS, Subject, Table
from tests import profiles, proven_profiles

SUBJECT = Subject(profiles.qwen_like())
PROVEN = Subject(proven_profiles.proven())
FEW = (CHARTS["boundaries"],)


def exported(name: str, subject: Subject) -> ExportedChart:
    chart = CHARTS[name]
    figure, table = chart.make([subject]), chart.table([subject])
    assert figure is not None and table is not None
    return ExportedChart("x", name, chart.title, chart.caption, subject.profile.provenance.model_id, figure, table)


def test_csv_holds_the_table(tmp_path: Path) -> None:
    paths = export({"qwen": SUBJECT}, "csv", tmp_path / "new")
    drawable = [name for name, chart in CHARTS.items() if chart.make([SUBJECT]) is not None]
    assert [path.name for path in paths] == [f"qwen-{name}.csv" for name in drawable]
    for path, name in zip(paths, drawable, strict=True):
        table = CHARTS[name].table([SUBJECT])
        assert table is not None
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
        assert rows[0] == list(table.columns)
        flags = {True: "true", False: "false"}
        assert rows[1:] == [
            ["" if cell is None else flags[cell] if isinstance(cell, bool) else str(cell) for cell in row]
            for row in table.rows
        ]


def test_csv_keeps_commas_quotes_and_lines_and_a_spreadsheet_meets_no_formula() -> None:
    table = Table(("what", "much"), (('a, "b"\nc', -0.1), ("=1+1", None)))
    assert list(csv.reader(io.StringIO(as_csv(table)))) == [["what", "much"], ['a, "b"\nc', "-0.1"], ["'=1+1", ""]]


@pytest.mark.parametrize(
    "text", ["=1", "+1", "-x", "@SUM(1)", "\t=1", "\r=1", "\n=1", "name\r=1", "name\r\n=1", 'a"\r=1']
)
def test_no_line_of_a_csv_begins_with_a_formula(text: str) -> None:
    written = as_csv(Table((text, "much"), ((text, 1.5), (None, text))))
    cells = list(csv.reader(io.StringIO(written, newline="")))
    assert [len(row) for row in cells] == [2, 2, 2]
    assert all(row[0][:1] not in tuple("=+-@\t\r\n") for row in cells)
    assert {cells[0][0], cells[1][0], cells[2][1]} <= {text, f"'{text}"}


def test_subjects_whose_charts_would_overwrite_each_other_are_refused(tmp_path: Path) -> None:
    for pair in ({"comparison": SUBJECT, "x": SUBJECT}, {"Run": SUBJECT, "run": SUBJECT}):
        with pytest.raises(HalfVError, match="2 charts would be written to the same file; got .*-entropy"):
            export(pair, "csv", tmp_path, (CHARTS["entropy"],))
    assert list(tmp_path.iterdir()) == []


def test_json_holds_the_table_and_the_words(tmp_path: Path) -> None:
    (path,) = export({"qwen": SUBJECT}, "json", tmp_path, FEW)
    table = CHARTS["boundaries"].table([SUBJECT])
    assert table is not None and path.read_text(encoding="utf-8") == as_json(exported("boundaries", SUBJECT))
    read = json.loads(path.read_text(encoding="utf-8"))
    assert (read["chart"], read["columns"]) == ("boundaries", list(table.columns))
    assert read["rows"] == [list(row) for row in table.rows]


def test_several_subjects_get_their_own_files_and_a_comparison(tmp_path: Path) -> None:
    pair = {"qwen": SUBJECT, "llava": Subject(profiles.llava_like())}
    names = [path.name for path in export(pair, "csv", tmp_path, (CHARTS["entropy"], CHARTS["boundaries"]))]
    assert names == ["qwen-entropy.csv", "qwen-boundaries.csv", "llava-entropy.csv", "comparison-entropy.csv"]
    assert "llava-1.5-7b" in (tmp_path / "comparison-entropy.csv").read_text(encoding="utf-8")


def test_profiles_with_and_without_a_proof_are_exported_together(tmp_path: Path) -> None:
    charts = tuple(CHARTS[name] for name in ("frontier", "causes", "treatments"))
    names = [path.name for path in export({"old": SUBJECT, "new": PROVEN}, "csv", tmp_path, charts)]
    own = ["old-frontier.csv", "old-treatments.csv", "new-frontier.csv", "new-causes.csv"]
    assert names == [*own, "comparison-frontier.csv"]


@pytest.mark.parametrize("subject", [SUBJECT, PROVEN])
@pytest.mark.parametrize("name", CHARTS)
def test_a_picture_stands_alone(name: str, subject: Subject) -> None:
    if CHARTS[name].make([subject]) is None:
        return
    figure = for_paper(exported(name, subject), 650)
    assert figure.layout.title.text == f"{CHARTS[name].title} ({subject.profile.provenance.model_id})"
    assert (figure.layout.paper_bgcolor, figure.layout.updatemenus, figure.layout.width) == ("white", (), 650)


def test_without_kaleido_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(HalfVError, match=r"no package kaleido; .*'halfv-probe\[pictures\]'.*csv or json") as caught:
        export({"qwen": SUBJECT}, "png", tmp_path / "new", FEW)
    assert caught.value.exit_code == 2 and not (tmp_path / "new").exists()


def test_without_a_browser_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object, **options: object) -> None:
        raise RuntimeError("\n\nKaleido requires Google Chrome to be installed.\n")

    monkeypatch.setattr(module, "find_spec", lambda name: object())
    monkeypatch.setattr("plotly.io.write_images", fail)
    with pytest.raises(HalfVError, match="no browser that kaleido can find; expected Chromium or Chrome"):
        export({"qwen": SUBJECT}, "svg", tmp_path, FEW)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(find_spec("kaleido") is None, reason="draws pictures: pip install 'halfv-probe[pictures]'")
def test_pictures_are_drawn(tmp_path: Path) -> None:
    (picture,) = export({"qwen": SUBJECT}, "png", tmp_path, FEW)
    with Image.open(picture) as image:
        assert image.size == (2000, 2 * (CHARTS["boundaries"].make([SUBJECT]).layout.height + 40))  # type: ignore[union-attr]
        assert image.getpixel((0, 0))[:3] == (255, 255, 255)  # type: ignore[index]
        assert len(image.convert("RGB").getcolors(maxcolors=1_000_000)) > 50  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == [picture]
    (paper,) = export({"qwen": SUBJECT}, "pdf", tmp_path, FEW)
    assert paper.read_bytes().startswith(b"%PDF") and b"MediaBox" in paper.read_bytes()
