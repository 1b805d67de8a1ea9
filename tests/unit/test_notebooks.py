"""The notebooks run, and what they print is what was committed."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_docs import anchors

pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")
pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"), key=lambda path: path.name)
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?|-?\d+")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[Any]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def printed(cells: list[Any]) -> list[str]:
    """What each cell printed."""
    return ["".join(output.get("text", "") for output in cell.outputs) for cell in cells]


def pictures(cells: list[Any]) -> list[int]:
    """How many pictures each cell drew."""
    return [sum("image/png" in output.get("data", {}) for output in cell.outputs) for cell in cells]


def test_there_are_two() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["from_a_model_to_its_stages", "visipruner"]


@each_notebook
def test_it_was_committed_as_it_ran(path: Path) -> None:
    """In order, without errors and without anything of the machine, and small enough to be shown on a page."""
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert sum(pictures(cells)) >= 6
    assert path.stat().st_size < 1_000_000
    assert not re.search(r"/(home|root|tmp|work|Users)/", "".join([*printed(cells), *(cell.source for cell in cells)]))


@each_notebook
def test_links_lead_somewhere(path: Path) -> None:
    text = "".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    links = [link.partition("#") for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    assert links
    for place, _, anchor in links:
        page = path.parent / place
        assert page.exists(), place
        assert not anchor or anchor in anchors(page), anchor


@each_notebook
def test_it_runs_and_prints_what_was_committed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same words; numbers may differ by rounding, a change of versions included."""
    from data_samples.studies.notebooks import executed  # needs nbclient

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    committed, again = code_cells(path), [cell for cell in executed(path).cells if cell.cell_type == "code"]
    assert pictures(again) == pictures(committed)
    for now, before in zip(printed(again), printed(committed), strict=True):
        assert NUMBER.sub("#", now) == NUMBER.sub("#", before)
        assert [float(number) for number in NUMBER.findall(now)] == pytest.approx(
            [float(number) for number in NUMBER.findall(before)], rel=0.02, abs=0.02
        )
