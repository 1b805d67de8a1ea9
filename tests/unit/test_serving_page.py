"""The code on docs/serving.md runs as it stands, top to bottom, and does what the page says.

What it says about the server is run in `tests/unit/cli/test_serve.py`.
"""

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def test_the_page_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "serving.md").read_text().partition("## An OpenAI-compatible server")[0]
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks[:-1]:
        exec(compile(block, "serving.md", "exec"), names)  # noqa: S102 - our own page
    said = capsys.readouterr().out
    assert "4.05x fewer FLOPs" in said
    assert "[99, 99] visual tokens kept, by row" in said
    assert "pixel_values" not in names["inputs"], "the second turn goes on with the cache of the first"
    kept = names["run"].kept[1]
    layer = names["model"].model.language_model.layers[4]
    assert len(kept) == 1
    assert "forward" in layer.__dict__
    exec(compile(blocks[-1], "serving.md", "exec"), names)  # noqa: S102
    assert "forward" not in layer.__dict__
