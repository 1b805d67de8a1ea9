"""Training settings of one model, read from configs/<name>.json; its chat template lies beside it."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from data_samples.making.generator.content import Difficulty

CONFIGS = Path(__file__).parent / "configs"


class Settings(NamedTuple):
    """A model's name, its JSON settings, and the chat template it is trained and shipped with."""

    name: str
    values: dict[str, Any]
    chat_template: str


def read_settings(name: str) -> Settings:
    values = json.loads((CONFIGS / f"{name}.json").read_text(encoding="utf-8"))
    return Settings(name, values, (CONFIGS / f"{name}.jinja").read_text(encoding="utf-8"))


def difficulty(values: dict[str, Any]) -> Difficulty:
    """The `scenes` entry of a stage or phase."""
    return Difficulty(tuple(values["objects"]), tuple(values["characters"]), values["text_share"])
