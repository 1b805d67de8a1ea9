"""Draws the charts, documents, diagrams, screenshots and signs of data_samples/photos/images.

    pip install matplotlib
    python -m data_samples.making.drawn_pages --out DIR

Charts need matplotlib, which is no dependency of this project; all other pages are HTML and need `chromium` on the
PATH. Every name and figure is made up. Lettering depends on the installed fonts (Lato, Liberation, EB Garamond and
JetBrains Mono were used for the shipped files), the content does not.
"""

import importlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image

from data_samples.making.drawn_pages import charts, diagrams, documents, screenshots, signs
from data_samples.making.drawn_pages.page import Page

CHARTS: list[Callable[[Any], None]] = [
    charts.chart_bicycles,
    charts.chart_temperatures,
    charts.chart_electricity,
    charts.chart_flats,
    charts.chart_power,
    charts.chart_visits,
    charts.chart_survey,
]
PAGES: list[Callable[[], Page]] = [
    documents.doc_invoice,
    documents.doc_letter,
    documents.doc_recipe,
    documents.doc_timetable,
    documents.doc_form,
    diagrams.diagram_parcel,
    diagrams.diagram_metro,
    diagrams.diagram_circuit,
    diagrams.diagram_services,
    diagrams.diagram_tree,
    screenshots.shot_shop,
    screenshots.shot_settings,
    screenshots.shot_editor,
    signs.sign_hours,
    signs.sign_parking,
    signs.sign_trail,
    signs.sign_departures,
]


def _name(drawing: Callable[..., Any]) -> str:
    return drawing.__name__.replace("_", "-") + ".png"


def _save(source: Path, target: Path) -> None:
    """RGB, at most 1024 pixels wide and high, without metadata."""
    with Image.open(source) as opened:
        image = opened.convert("RGB")
    image.thumbnail((1024, 1024), Image.Resampling.LANCZOS)
    image.save(target, optimize=True)


def main(out: Annotated[Path, typer.Option(help="Folder to write.")]) -> None:
    importlib.import_module("matplotlib").use("Agg")
    plt = importlib.import_module("matplotlib.pyplot")
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise typer.BadParameter("chromium is needed to draw the pages")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "page.png"
        for chart in CHARTS:
            plt.rcParams.update({"font.size": 12, "font.sans-serif": ["Liberation Sans", "DejaVu Sans"]})
            chart(plt)
            plt.tight_layout()
            plt.savefig(shot, dpi=110)
            plt.close()
            _save(shot, out / _name(chart))
        for page in PAGES:
            width, height, body = page()
            html = Path(folder) / "page.html"
            style = "margin:0;box-sizing:border-box;min-height:100vh"
            text = f"<!doctype html><meta charset=utf-8><body style='{style}'>{body}"
            html.write_text(text, encoding="utf-8")
            options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
            view = [f"--window-size={width},{height}", f"--screenshot={shot}", html.as_uri()]
            subprocess.run([browser, *options, *view], check=True, capture_output=True, timeout=60)
            _save(shot, out / _name(page))
    typer.echo(f"{len(CHARTS) + len(PAGES)} pages written to {out}")


if __name__ == "__main__":
    typer.run(main)
