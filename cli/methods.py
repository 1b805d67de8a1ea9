"""`halfv-probe methods`: the published methods that `--method` accepts, and what they are.

halfv-probe methods --json
"""

from cli.common import JsonOption, print_json, stdout


def methods(as_json: JsonOption = False) -> None:
    """List the published methods that can be run."""
    from rich.table import Table

    from halfv_core.methods import METHODS

    rows = [
        {
            "name": name,
            "title": METHODS[name].title,
            "source": METHODS[name].source,
            "question_aware": METHODS[name].question_aware,
            "where": METHODS[name].where,
            "looks_at": METHODS[name].looks_at,
            "needs": METHODS[name].needs,
            "note": METHODS[name].note,
        }
        for name in sorted(METHODS)
    ]
    if as_json:
        print_json(rows)
        return
    table = Table("name", "source", "question", "where", "looks at", box=None, pad_edge=False)
    for row in rows:
        asks = "yes" if row["question_aware"] else "no"
        table.add_row(row["name"], row["source"], asks, row["where"], row["looks_at"])
    stdout.print(table)
    stdout.print("What a method needs, and where it differs from its code: --json.", highlight=False)
