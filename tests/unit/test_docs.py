"""The pages: links lead somewhere, and files, modules, commands and options that they name exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "data_samples/*.md", "data_samples/*/README.md", "data_samples/models/*/*.md")
    for path in ROOT.glob(pattern)
)
GROUP = typer.main.get_command(app)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def without_code(text: str) -> str:
    """Without blocks and spans of code, in which brackets are no links."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def anchors(page: Path) -> set[str]:
    """Those that its headings have on GitHub."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def command_lines(text: str) -> Iterator[list[str]]:
    """Words after `halfv-probe`, at least one, of each call in blocks and spans of code."""
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["halfv-probe"] and len(words) > 1:
                yield words[1:]


@each_page
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    text = without_code(page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@each_page
def test_files_and_modules_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:cli|data_samples|docs|halfv_core|probe|tests)/[\w./-]*)`", text)
    for path in named:
        assert "NAME" in path or (ROOT / path).exists(), path
    for module in re.findall(r"python -m (data_samples[\w.]*\w)", text):
        file = ROOT / module.replace(".", "/")
        assert file.with_suffix(".py").is_file() or (file / "__main__.py").is_file(), module
    for target in re.findall(r"`make ([a-z]+)`", text):
        assert f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8"), target


@each_page
def test_commands_and_options_that_are_named_exist(page: Path) -> None:
    for words in command_lines(page.read_text(encoding="utf-8")):
        if words[0] == "COMMAND":
            continue
        command = GROUP if words[0].startswith("-") else GROUP.commands.get(words[0])
        assert command is not None, words[0]
        options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        assert {word for word in words if word.startswith("--")} <= options, words


def test_every_command_is_on_the_page_of_commands() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert set(GROUP.commands) <= {words[0] for words in command_lines(text)}


def test_every_page_can_be_found_from_the_readme() -> None:
    linked = set(re.findall(r"\]\(([^)#\s]+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= linked


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 145
