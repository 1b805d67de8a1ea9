"""Writes the tables of docs/families.md: every image-and-text model class of transformers, and how it stands.

python -m data_samples.studies.families

What is said of a class is what the contract tests check on a tiny random model of it (`tests/tiny_classes.py`).
"""

from pathlib import Path

from transformers import PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from data_samples.studies.tables import markdown, write_table
from halfv_core.families import FAMILIES
from halfv_core.families.description import PLAIN_DECODERS
from halfv_core.families.unsupported import UNSUPPORTED
from halfv_core.layer_kinds import Latent, recurrent_layers, sliding_layers
from tests.any_model import any_config
from tests.tiny_classes import CLASSES, REFUSED, UNTRIED

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
NAMES: dict[str, str] = dict(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
"""Model class by `model_type`."""


def registered() -> str:
    """Families with a description and tests of their own."""
    rows = [
        (f"`{name}`", family.name, ", ".join(f"`{decoder}`" for decoder in family.decoders), _yes(family.tower))
        for name, family in sorted(FAMILIES.items())
    ]
    return markdown(("model type", "family", "decoders", "vision tower is read"), rows)


def admitted() -> str:
    """Classes that pass the contract matrix by their structure."""
    rows = []
    for name in sorted(CLASSES.keys() - REFUSED):
        config = any_config(name, **CLASSES[name].given).get_text_config()
        plain = "known" if config.model_type in PLAIN_DECODERS else "by running the layer"
        rows.append((f"`{name}`", NAMES[name], f"`{config.model_type}`", _layers(config), plain))
    return markdown(("model type", "class", "decoder", "layers", "queries and keys"), rows)


def refused() -> str:
    """Classes that are refused or were not tried, with the reason."""
    reasons = {name: f"does not hold: {identity}" for name, identity in REFUSED.items()} | UNSUPPORTED | UNTRIED
    return markdown(("model type", "class", "reason"), [(f"`{n}`", NAMES[n], reasons[n]) for n in sorted(reasons)])


def _layers(config: PreTrainedConfig) -> str:
    """What is particular about a decoder's layers."""
    found = {
        "latent attention": Latent.of(config) is not None,
        "sliding windows": bool(sliding_layers(config)),
        "layers with a running state": bool(recurrent_layers(config)),
        "experts": any(getattr(config, name, None) for name in ("num_experts_per_tok", "moe_k", "moe_topk")),
    }
    return ", ".join(name for name, holds in found.items() if holds)


def _yes(value: object) -> str:
    return "yes" if value else ""


TABLES = {"families registered": registered, "families admitted": admitted, "families refused": refused}


def main() -> None:
    """Write all tables."""
    for name, table in TABLES.items():
        write_table(name, f"\n{table()}\n", PAGE)


if __name__ == "__main__":
    main()
