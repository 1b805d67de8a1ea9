"""`halfv-probe methods`: the published methods that `--method` accepts, and what they are.

halfv-probe methods --json
"""

from typing import TypedDict

from cli.common import JsonOption, print_json, stdout


class Row(TypedDict):
    """What is listed of a method."""

    name: str
    title: str
    source: str
    question_aware: bool
    where: str
    looks_at: str
    families: str
    needs: str
    note: str


def methods(as_json: JsonOption = False) -> None:
    """List the published training-free methods that can be run."""
    from rich.table import Table

    rows = listed_methods()
    if as_json:
        print_json(rows)
        return
    table = Table("name", "source", "question", "where", "looks at", "families", box=None, pad_edge=False)
    for row in rows:
        asks = "yes" if row["question_aware"] else "no"
        table.add_row(row["name"], row["source"], asks, row["where"], row["looks_at"], row["families"])
    stdout.print(table)
    stdout.print("None is trained. --json: what a method needs, and in what it differs from its code.", highlight=False)


def listed_methods() -> list[Row]:
    """All methods, by name."""
    from halfv_core.cost import DecoderShape
    from halfv_core.methods import METHODS, Target

    llava = Target("llava", DecoderShape(32, 4096, 4096, 4096, 11008, 2), visual=576, text=64, tower_layers=24)
    rows = []
    for name, kind in sorted(METHODS.items()):
        looks_at_tower = kind().default(llava).reads() & {"vision", "grids"}
        row = Row(
            name=name,
            title=kind.title,
            source=kind.source,
            question_aware=kind.question_aware,
            where=kind.where,
            looks_at=kind.looks_at,
            families="LLaVA-1.5, LLaVA-NeXT, Qwen-VL" if looks_at_tower else "all",
            needs=kind.needs,
            note=kind.note,
        )
        rows.append(row)
    return rows
