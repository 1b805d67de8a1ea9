"""`halfv-probe models`: the names that --model accepts, with what is worth knowing before one is chosen.

halfv-probe models --json
"""

from typing import Any

from cli.common import JsonOption, print_json, stdout

WIDE = 130
"""Columns of a terminal from which on the table has the hub ids too."""
PROMPT = 2500
"""Visual tokens of the prompt that memory is computed for, where images may have more."""


def models(as_json: JsonOption = False) -> None:
    """List the names that --model understands."""
    from rich.table import Table

    from halfv_core.models import bundled_models

    bundled: list[dict[str, Any]] = [
        {"name": name, "source": str(path), "bundled": True} for name, path in bundled_models().items()
    ]
    known = _known()
    if as_json:
        print_json([*bundled, *known])
        return
    for row in bundled:
        stdout.print(f"{row['name']}: bundled, works offline", highlight=False)
    stdout.print()
    columns = ("name", *(("source",) if stdout.width >= WIDE else ()), "family", "licence")
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    for column in ("size", "visual tokens", "memory", "pixels"):
        table.add_column(column, justify="right")
    for row in known:
        tokens = f"{'to ' if row['visual_tokens_by_size'] else ''}{row['visual_tokens']:,}"
        texts = (str(row[name]) for name in columns)
        memory = f"{row['calibration_gb']:.0f} GB"
        pixels = f"{row['calibration_pixels'] / 1e6:.1f} M"
        table.add_row(*texts, f"{row['parameters'] / 1e9:.1f} B", tokens, memory, pixels)
    stdout.print(table)
    stdout.print(
        f"Visual tokens: of one image. Memory: of a calibration in bfloat16, with all or {PROMPT:,} of them, which an "
        "image of so many pixels has (`halfv-probe estimate`). Licences were not compared with the model cards, which "
        "decide. --json has the hub ids.\nAny other checkpoint: --model /path/to/folder or --model owner/name.",
        highlight=False,
    )


def _known() -> list[dict[str, Any]]:
    """The models on the hub; no torch is needed for this."""
    from halfv_core.known_models import KNOWN_MODELS
    from probe.estimate.gpus import Gpus, Way, layout
    from probe.estimate.sizes import KNOWN

    rows = []
    for name, model in KNOWN_MODELS.items():
        sizes, visual = KNOWN[name], min(PROMPT, model.visual_tokens)
        found = layout(sizes, Gpus(1, 0), visual, 100, Way(False, None))
        rows.append(
            {
                **{"name": name, "source": model.hub_id, "bundled": False},
                **{"family": model.family, "licence": model.licence, "parameters": sizes.parameters},
                **{"visual_tokens": model.visual_tokens, "visual_tokens_by_size": model.by_size},
                **{"pixels_per_visual_token": model.pixels, "calibration_pixels": visual * model.pixels},
                **{"dtype": "bfloat16", "calibration_gb": round(found.needed / 1e9, 1)},
            }
        )
    return rows
