"""Downloads of the report page: the numbers are those of the table, the pictures are drawn on white."""

import csv
import json
import time
from pathlib import Path

from PIL import Image

from probe.report import CHARTS, Subject
from tests import profiles
from tests.browser.window import Window

SUBJECT = Subject(profiles.qwen_like())


def press(window: Window, downloads: Path, chart: str, kind: str, name: str) -> Path:
    """The file that a button makes."""
    button = window.chrome.find_element("css selector", f"button[data-chart={chart}][data-kind={kind}]")
    window.run("arguments[0].click()", button)
    path = downloads / name
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{name} never came"
        time.sleep(0.05)
    return path


def test_csv_and_json_hold_every_number_of_the_chart(window: Window, downloads: Path) -> None:
    window.open([SUBJECT])
    table = CHARTS["entropy"].table([SUBJECT])
    assert table is not None
    path = press(window, downloads, "m1-entropy", "csv", "qwen2.5-vl-7b-entropy.csv")
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert tuple(head) == table.columns
    numbers = [[cell if isinstance(cell, str) else float(cell) for cell in row] for row in table.rows]
    assert [[cell if index == 0 else float(cell) for index, cell in enumerate(row)] for row in rows] == numbers
    path = press(window, downloads, "m1-entropy", "json", "qwen2.5-vl-7b-entropy.json")
    assert json.loads(path.read_text()) == {"columns": [*table.columns], "rows": [[*row] for row in table.rows]}


def test_pictures_are_dark_on_white_in_a_dark_page_too(window: Window, downloads: Path) -> None:
    window.open([SUBJECT], scheme="dark")
    window.draw("m1-entropy")
    with Image.open(press(window, downloads, "m1-entropy", "png", "qwen2.5-vl-7b-entropy.png")) as image:
        pixels = image.convert("RGB")
    assert pixels.getpixel((1, 1)) == (255, 255, 255)
    assert pixels.width > 1500
    dark = sum(count for count, color in pixels.getcolors(1 << 20) or [] if max(color) < 70)
    assert dark > 1000
    drawing = press(window, downloads, "m1-entropy", "svg", "qwen2.5-vl-7b-entropy.svg").read_text()
    assert drawing.startswith("<svg") and "rgb(255, 255, 255)" in drawing
    assert window.errors() == []


def test_a_spreadsheet_meets_no_formula(window: Window) -> None:
    window.open([SUBJECT])
    fields = [["=1+1", "+x", "-x", "@x", 'say "a, b"', "two\nlines", "plain"], [-1.5, 0, 1e-30, None, "", "-", "é"]]
    told = window.run("return asCsv({columns: arguments[0][0], rows: [arguments[0][1]]})", fields)
    assert told == ('\'=1+1,\'+x,\'-x,\'@x,"say ""a, b""","two\nlines",plain\n-1.5,0,1e-30,,,\'-,é\n')


def test_the_command_can_be_copied(window: Window) -> None:
    window.open([SUBJECT])
    button = window.chrome.find_element("css selector", "button[data-copy]")
    window.run("arguments[0].click()", button)
    window.wait("/^(Copied|Selected)/.test(document.querySelector('button[data-copy]').textContent)")
    assert window.value("getSelection().toString()").startswith("halfv-probe calibrate --model qwen2.5-vl-7b")
