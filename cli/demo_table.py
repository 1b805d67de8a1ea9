"""The final table of a demo: accuracy by question family, and what the plan saves."""

from rich.table import Table

from probe.demo import Demo


def accuracy_table(demo: Demo) -> Table:
    """One row per question family, without and with the plan."""
    full, fast = demo.full, demo.fast
    table = Table(box=None, title=f"{len(demo.ablation.comparisons)} held-out scenes")
    table.add_column("family")
    for name in ("full model", "accelerated"):
        table.add_column(name, justify="right")
    for family, accuracy in full.by_family.items():
        table.add_row(family, f"{accuracy:.3f}", f"{fast.by_family[family]:.3f}")
    table.add_section()
    table.add_row("mean", f"{full.accuracy:.3f}", f"{fast.accuracy:.3f}", style="bold")
    table.add_row("retention", "", "-" if fast.retention is None else f"{fast.retention:.1%}")
    table.add_row("prefill FLOPs", "", f"{fast.flops_ratio:.2f}x fewer")
    table.add_row("KV cache", "", f"{fast.kv_ratio:.2f}x smaller")
    return table
