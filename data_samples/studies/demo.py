"""The whole path on one bundled model, offline: calibrate, report, and compare with and without the plan.

    make demo

Writes profile.json, report.html and results.json into runs/demo.
"""

import json
from pathlib import Path

from rich.table import Table

from cli.common import stdout
from cli.summary import summary_table
from data_samples.studies.study import Study, as_data, study

MODEL = "tiny-qwen2.5-vl"
OUTPUT = Path("runs/demo")


def main() -> None:
    found = study(MODEL, OUTPUT)
    stdout.print(summary_table(found.profile))
    stdout.print(accuracy_table(found))
    stdout.print(f"profile, report and results: {OUTPUT}/", highlight=False)
    stdout.print(json.dumps(as_data(found)), soft_wrap=True, markup=False, highlight=False)


def accuracy_table(found: Study) -> Table:
    """Accuracy by family, and what the plan saves."""
    full, fast = found.full, found.fast
    table = Table(box=None, title=f"{len(full.grades)} held-out scenes")
    table.add_column("family")
    for name in ("full model", "accelerated"):
        table.add_column(name, justify="right")
    for family, accuracy in full.accuracy.items():
        table.add_row(family, f"{accuracy:.3f}", f"{fast.accuracy[family]:.3f}")
    table.add_section()
    table.add_row("mean", f"{full.mean:.3f}", f"{fast.mean:.3f}", style="bold")
    table.add_row("retention", "", f"{found.retention:.1%}")
    table.add_row("prefill FLOPs", "", f"{fast.flops_ratio:.2f}x fewer")
    table.add_row("KV cache", "", f"{fast.kv_ratio:.2f}x smaller")
    return table


if __name__ == "__main__":
    main()
