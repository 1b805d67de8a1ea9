"""User data through the commands: what doctor shows, what calibrate reports and records, and one-line errors."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cli.data_options import print_rejected
from cli.main import main
from halfv_core import Profile
from probe.data.columns import Columns
from probe.data.draw import draw
from probe.data.samples import Rejected, data_fingerprint, load_samples
from tests.checkpoints import save_checkpoint
from tests.pictures import noise
from tests.unit.cli.test_calibrate import FAST, run

MAPPING = ["--column", "question=frage", "--column", "answer=antwort"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, and a table with unusual column names; three of nine rows are bad, one only when it is opened."""
    root = tmp_path_factory.mktemp("work")
    save_checkpoint("qwen2_5_vl", root / "model")
    rows: list[dict[str, Any]] = []
    for index in range(9):
        noise(64, 64, 10 + 20 * index, index).save(root / f"{index}.png")
        rows.append(
            {"image": f"{index}.png", "frage": f"w{20 + index} w9", "antwort": "w3", "category": "ab"[index % 2]}
        )
    rows[2]["image"] = "gone.png"
    rows[5]["frage"] = ""
    (root / "7.png").write_text("<html>")
    with (root / "data.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return root


def call(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run `halfv-probe ...` in this process; return its exit code."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["halfv-probe", *arguments])
    try:
        main()
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def test_doctor_shows_how_data_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(folder, monkeypatch, "doctor", "--data", "data.csv", *MAPPING) == 0
    output, errors = capfd.readouterr()
    assert "the data can be read: 7 samples, 2 rows rejected" in output
    assert "image = image, question = frage, answer = antwort, family = category" in output
    assert "families: a 4, b 3" in output
    assert "0.png 64x64" in output and "    w20 w9\n    -> w3\n" in output
    rejected = ["row 3: image does not exist; got gone.png", "row 6: no question; got columns image, frage, antwort"]
    assert errors == f"2 of 9 rows cannot be used:\n  {rejected[0]}\n  {rejected[1]}, category\n"


def test_doctor_says_the_same_to_machines(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(folder, monkeypatch, "doctor", "--data", "data.csv", *MAPPING, "--json") == 0
    data = json.loads(capfd.readouterr().out)["data"]
    assert data["columns"] == {"image": "image", "question": "frage", "answer": "antwort", "family": "category"}
    assert (data["samples"], len(data["rejected"]), data["multiple_choice"], data["without_answer"]) == (7, 2, 0, 0)
    assert data["example"] == {
        "id": "1",
        "images": ["0.png 64x64 px"],
        "videos": [],
        "prompt": "w20 w9",
        "answers": ["w3"],
    }


def test_doctor_obeys_no_markup_in_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    rows = [{"image": "a.png", "question": "[bold]q[/nope]", "category": "[red]"}] * 2 + [{"image": "[/x].png"}]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert call(tmp_path, monkeypatch, "doctor", "--data", "d.jsonl") == 0
    output, errors = capfd.readouterr()
    assert "[bold]q[/nope]" in output and "[red] 2" in output
    assert "line 3: no question" in errors


def test_doctor_says_what_was_chosen_and_where_images_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    rows = [
        {"image": "a.png", "question": "Is <image 1> round?", "choices": ["x", "y", "z"], "answer": 1, "split": name}
        for name in ("train", "val")
    ]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    assert call(tmp_path, monkeypatch, "doctor", "--data", "d.json") == 0
    output, errors = capfd.readouterr()
    assert "multiple choice: 1 (answers are index0), without" in output
    assert "images inside the text: 1" in output and "Is [image] image 1 round?" in output
    assert "d.json: split val is read; train left out, give --split to choose\n" in errors
    assert "d.json: the answers in column answer are read as indices from 0" in errors
    assert call(tmp_path, monkeypatch, "doctor", "--data", "d.json", "--answers-are", "index1", "--split", "val") == 0
    output, errors = capfd.readouterr()
    assert "-> A" in output and errors == ""


def test_only_the_first_rejected_rows_are_said(capfd: pytest.CaptureFixture[str]) -> None:
    print_rejected([], 10)
    assert capfd.readouterr() == ("", "")
    print_rejected([Rejected(f"line {index}", "[no] image") for index in range(5)], 20)
    printed = capfd.readouterr().err.splitlines()
    assert printed[0] == "5 of 20 rows cannot be used:"
    assert printed[1:] == ["  line 0: [no] image", "  line 1: [no] image", "  line 2: [no] image", "  and 2 more"]


def test_calibrate_names_bad_rows_and_writes_down_what_it_used(folder: Path) -> None:
    done = run(
        "calibrate", "--model", "./model", "--data", "data.csv", *MAPPING, *FAST, "--samples", "9", folder=folder
    )
    assert "2 of 9 rows cannot be used:\n  row 3: image does not exist; got gone.png\n" in done.stderr
    provenance = Profile.load(folder / "profile.json").provenance
    assert provenance.data == "data.csv"
    assert provenance.data_columns == {
        **{"image": "image", "question": "frage", "answer": "antwort"},
        "family": "category",
    }
    assert provenance.arguments_given["column"] == ["question=frage", "answer=antwort"]
    assert provenance.rejected == 3
    assert provenance.rejected_first[0] == "row 3: image does not exist; got gone.png"
    assert provenance.rejected_first[1].startswith("row 6: no question")
    assert provenance.rejected_first[2].startswith("8: 7.png is not an image that can be read")
    used = {*provenance.sample_ids, *provenance.held_out_ids}
    assert used == {"1", "2", "4", "5", "7", "9"}
    samples = load_samples(folder / "data.csv", columns=Columns(question="frage", answer="antwort"))
    again = [sample for sample in draw(samples, 9, 0) if sample.id in used]
    assert provenance.data_fingerprint == data_fingerprint(again)


DATA = ["calibrate", "--model", "./model", "--data"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [*DATA, "data.csv"],
            "9 of 9 rows of data.csv cannot be used; got row 1, row 2, row 3 and 6 more: no question",
        ),
        ([*DATA, "data.csv", "--column", "question"], "bad --column; got 'question'; expected FIELD=COLUMN"),
        ([*DATA, "data.csv", "--column", "colour=x"], "bad --column; got 'colour=x'; expected FIELD=COLUMN"),
        (
            [*DATA, "data.csv", "--column", "question=prompt"],
            "no column for question; got prompt; expected one of antw",
        ),
        ([*DATA, "data.csv", *MAPPING, "--images", "model"], "9 of 9 rows of data.csv cannot be used"),
        ([*DATA, "data.csv", *MAPPING, "--split", "test"], "data.csv has no splits; got test; leave out --split"),
        ([*DATA, "gone.parquet"], "cannot read data gone.parquet: No such file"),
        ([*DATA, "gone"], "no data at gone: no such file or folder; give one of scenes"),
        ([*DATA, "0.png"], "no reader for 0.png; expected JSONL"),
        ([*DATA, "model"], "no data in folder model; expected images, Parquet files"),
        (["doctor", "--data", "data.csv"], "9 of 9 rows of data.csv cannot be used"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_2(
    folder: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(folder, monkeypatch, *arguments) == 2
    output, errors = capfd.readouterr()
    assert errors.startswith("halfv-probe: ") and errors.count("\n") == 1
    assert message in errors
    assert output == ""
