"""The wheel works alone: built, installed where nothing of the clone is in reach, and used from an empty folder."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from halfv_core import HalfVError
from halfv_core.models import resolve
from probe.data.samples import BUNDLED_DATA, load_samples

ROOT = Path(__file__).parents[2]
PACKAGES = {"halfv_core", "probe", "cli", "data_samples"}
DATA = ("models", "scenes", "photos", "profiles")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}

ORIGINS = "import sys; from importlib.util import find_spec; print(*[find_spec(name).origin for name in sys.argv[1:]])"


def run(*command: str | Path, cwd: Path) -> str:
    """What the command prints, in an environment that does not lead to the clone."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that the build leaves nothing in the clone."""
    folder = tmp_path_factory.mktemp("build")
    for name in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    run(
        *PIP, "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", ".", ".", cwd=folder
    )
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_all_data_and_only_what_a_user_needs(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in names} == PACKAGES
    folders = [ROOT / "data_samples" / part for part in DATA]
    data = {str(path.relative_to(ROOT)) for folder in folders for path in folder.rglob("*") if path.is_file()}
    assert len(data) > 400
    packaged = {name for name in names if name.startswith("data_samples/")}
    assert packaged == data | {"data_samples/__init__.py", "data_samples/README.md"}
    code = {str(path.relative_to(ROOT)) for name in PACKAGES - {"data_samples"} for path in (ROOT / name).rglob("*.py")}
    assert {name for name in names - packaged if name.endswith(".py")} == code
    assert not [name for name in names if "__pycache__" in name]


def beside_our_dependencies(wheel: Path, folder: Path) -> Path:
    """The wheel alone in a fresh environment that borrows its dependencies from the one that runs the tests.

    A folder that a .pth file names is searched last, and .pth files in that folder are not read: an editable
    installation there stays out of reach.
    """
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    run(*PIP, "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    own = next(folder.glob("lib/*/site-packages"))
    places = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (own / "dependencies.pth").write_text("\n".join(places))
    return folder / "bin"


def with_dependencies(wheel: Path, folder: Path) -> Path:
    """As a user installs it, in the tested versions."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    run(*PIP, "--python", python, "install", "--quiet", "-c", ROOT / "constraints.txt", wheel, cwd=folder)
    return folder / "bin"


@pytest.mark.parametrize("install", [beside_our_dependencies, pytest.param(with_dependencies, marks=pytest.mark.slow)])
def test_the_quick_start_works_from_an_empty_folder(
    install: Callable[[Path, Path], Path], wheel: Path, tmp_path: Path
) -> None:
    programs, empty = install(wheel, tmp_path / "environment"), tmp_path / "empty"
    empty.mkdir()
    places = run(programs / "python", "-c", ORIGINS, *PACKAGES, cwd=empty).split()
    assert all(Path(place).is_relative_to(tmp_path / "environment") for place in places)

    models = json.loads(run(programs / "halfv-probe", "models", "--json", cwd=empty))
    bundled = {row["name"]: Path(row["source"]) for row in models if row["bundled"]}
    assert bundled.keys() == {path.name for path in (ROOT / "data_samples" / "models").iterdir()}
    assert all(path.is_relative_to(tmp_path / "environment") for path in bundled.values())

    said = run(programs / "halfv-probe", "demo", "--samples", "3", "--questions", "3", cwd=empty)
    written = empty / "runs" / "demo"
    names = ["profile.json", "profile.observations.json", "report.html", "results.json", "scene.png"]
    assert sorted(path.name for path in written.iterdir()) == names
    assert json.loads((written / "results.json").read_text(encoding="utf-8"))["samples"] == 3

    program, *generate = shlex.split(said.splitlines()[-1].removeprefix("try:"))
    assert (program, generate[0]) == ("halfv-probe", "generate")
    answers = json.loads(run(programs / program, *generate, "--json", cwd=empty))
    assert answers["full"]["answer"] and answers["accelerated"]["flops_ratio"] >= 1  # whatever 3 samples say

    run(programs / "halfv-probe", "plot", written / "profile.json", cwd=empty)
    assert "tiny-qwen2.5-vl" in (empty / "report.html").read_text(encoding="utf-8")


def test_an_installation_without_its_data_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("halfv_core.models.BUNDLED", tmp_path)
    with pytest.raises(HalfVError, match=f"there are no bundled models in {tmp_path}/models: reinstall halfv-probe"):
        resolve("tiny-llava")
    monkeypatch.setitem(BUNDLED_DATA, "scenes", tmp_path / "scenes.jsonl")
    with pytest.raises(HalfVError, match=f"'scenes' are not installed: no file {tmp_path}/scenes.jsonl; reinstall"):
        load_samples("scenes")
