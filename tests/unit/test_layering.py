"""Imports go one way, cli -> probe -> halfv_core, and a deployment needs neither nnsight nor plotly."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {"halfv_core": {"probe", "cli", "data_samples", "tests"}, "probe": {"cli", "data_samples", "tests"}}


def imported(path: Path) -> set[str]:
    """Top-level names of all modules that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_go_one_way(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        assert not imported(path) & FORBIDDEN[package], path


def test_one_file_imports_nnsight() -> None:
    paths = [path for name in ("halfv_core", "probe", "cli") for path in (ROOT / name).rglob("*.py")]
    assert [path.name for path in paths if "nnsight" in imported(path)] == ["hidden_states.py"]


def test_the_runtime_works_without_the_measuring_packages() -> None:
    code = """
import sys
for name in ("nnsight", "plotly", "scipy", "typer", "rich", "jinja2", "probe", "cli"):
    sys.modules[name] = None
from tests.tiny import tiny_model, tiny_prompt
from halfv_core import Freeze, Keep, Plan, apply
from halfv_core.models import load_model
model = tiny_model("llava")
with apply(model, Plan((Keep(layer=1, keep_ratio=0.5), Freeze(layers=[3])))) as run:
    model.generate(**tiny_prompt("llava"), max_new_tokens=2)
print(len(run.kept[1][0]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.stdout.strip(), done.returncode) == ("8", 0), done.stderr


def test_every_file_opens_with_its_purpose() -> None:
    for folder in ("halfv_core", "probe", "cli", "tests", "data_samples"):
        for path in (ROOT / folder).rglob("*.py"):
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or not path.read_text(), path
