"""Held-out accuracy of every way to choose tokens, by layer and keep ratio: what the defaults rest on.

python -m data_samples.studies.selector_table --layer 2 --layer 4 --keep-ratio 0.25
"""

from typing import Annotated

import typer
from rich.table import Table

from cli.common import load_quietly, progress_bar, stdout
from halfv_core import Keep, Plan
from halfv_core.plan import Option
from probe import load_samples
from probe.evaluation.evaluate import evaluate

RULES: dict[str, tuple[str, dict[str, Option]]] = {
    "anchors 0.1, attention": ("anchor_coverage", {"anchor_share": 0.1, "scoring": "attention"}),
    "anchors 0.1, release": ("anchor_coverage", {"anchor_share": 0.1, "scoring": "release"}),
    "anchors 0.2, attention": ("anchor_coverage", {"anchor_share": 0.2, "scoring": "attention"}),
    "coverage alone": ("anchor_coverage", {"anchor_share": 0.0}),
    "attention": ("attention", {"scoring": "attention"}),
    "attention, release": ("attention", {"scoring": "release"}),
    "uniform": ("uniform", {}),
    "random": ("random", {}),
}


def main(
    model: Annotated[str, typer.Option()] = "tiny-qwen2.5-vl",
    layer: Annotated[list[int] | None, typer.Option(help="May be repeated. [default: 2]")] = None,
    keep_ratio: Annotated[list[float] | None, typer.Option(help="May be repeated. [default: 0.1, 0.25]")] = None,
) -> None:
    """Prune once, nothing else, and answer the 300 held-out scenes."""
    loaded = load_quietly(model, "auto", "auto", False)
    samples = load_samples("scenes-heldout")
    full = evaluate(loaded.model, loaded.processor, samples, Plan(()))
    short = (family[:4] for family in full.accuracy)  # so that nothing is cut off at 80 columns
    table = Table("at", "keep", "rule", "mean", *short, box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_row("", "1", "full model", f"{full.mean:.3f}", *(f"{value:.2f}" for value in full.accuracy.values()))
    grid = [(at, share, rule) for at in layer or [2] for share in keep_ratio or [0.1, 0.25] for rule in RULES]
    with progress_bar() as report:
        for done, (at, share, rule) in enumerate(grid, start=1):
            selector, options = RULES[rule]
            plan = Plan((Keep(layer=at, keep_ratio=share, selector=selector, options=options),))
            found = evaluate(loaded.model, loaded.processor, samples, plan)
            families = [f"{value:.2f}" for value in found.accuracy.values()]
            table.add_row(str(at), f"{share:g}", rule, f"{found.mean:.3f}", *families)
            report("rules", done, len(grid))
    stdout.print(table)


if __name__ == "__main__":
    typer.run(main)
