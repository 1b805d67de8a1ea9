"""The notebooks of docs/notebooks, executed, with their outputs written into them.

    make notebooks          # or: python -m data_samples.studies.notebooks visipruner.ipynb

Needs the extra `notebooks` and nbclient, which the extra `dev` has.
"""

from pathlib import Path
from typing import Annotated, Any

import nbformat
import typer
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
TIMEOUT = 600
"""Seconds that one cell may take."""


def main(
    notebook: Annotated[list[str] | None, typer.Argument(help="Names of files. [default: all]")] = None,
) -> None:
    """Execute the notebooks, and write them."""
    for path in map(FOLDER.joinpath, notebook or sorted(path.name for path in FOLDER.glob("*.ipynb"))):
        nbformat.write(executed(path), path)


def executed(path: Path) -> Any:
    """A notebook with the outputs of a run of its own, without what depends on the machine.

    Raises:
        CellExecutionError: a cell raised an exception.
    """
    notebook = nbformat.read(path, as_version=4)
    options = {"kernel_name": "python3", "timeout": TIMEOUT, "record_timing": False, "coalesce_streams": True}
    NotebookClient(notebook, **options).execute()
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        if cell.cell_type == "code":  # progress bars and warnings go to stderr
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


if __name__ == "__main__":
    typer.run(main)
