"""`halfv-probe models`: the names that --model accepts, and which models are bundled.

halfv-probe models --json
"""

from cli.common import JsonOption, print_json, stdout


def models(as_json: JsonOption = False) -> None:
    """List the names that --model understands."""
    from rich.table import Table

    from halfv_core.models import MODEL_NAMES, bundled_models

    rows = [{"name": name, "source": str(path), "bundled": True} for name, path in bundled_models().items()]
    rows += [{"name": name, "source": hub_id, "bundled": False} for name, hub_id in MODEL_NAMES.items()]
    if as_json:
        print_json(rows)
        return
    table = Table("name", "where", box=None, pad_edge=False)
    for row in rows:
        table.add_row(str(row["name"]), "bundled, works offline" if row["bundled"] else f"hub: {row['source']}")
    stdout.print(table)
    stdout.print("Any other checkpoint: --model /path/to/folder or --model owner/name.", highlight=False)
