"""The final table of a comparison of methods, with one row for each method and budget."""

from rich.markup import escape
from rich.table import Table

from probe.common.statistics import CONFIDENCE
from probe.evaluation.methods import MethodComparison, Row
from probe.report.methods_words import not_run

COLUMNS = ("method", "FLOPs", "accuracy", "kept", f"{CONFIDENCE:.0%}", "same", "KV", "prefill", "choosing")

LEGEND = (
    "FLOPs: how many times fewer in the decoder's prefill, as it ran. Accuracy is the mean over the question families; "
    "kept: divided by the full model's. Same: answers equal to the full model's. Prefill: measured time of the "
    "decoder, how many times shorter; choosing: share of it that goes into choosing tokens. Times are medians, and "
    "rough on a machine that does other work."
)


def methods_table(comparison: MethodComparison) -> Table:
    """Accuracy, what is kept of it, and savings; rows are grouped by method."""
    title = escape(f"{comparison.model_id}, {comparison.samples} samples")
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), title=title)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
    for row in comparison.rows:
        table.add_row(*map(escape, _cells(row)), style="dim" if row.is_control else None)
    return table


def settings_table(comparison: MethodComparison) -> Table:
    """What tuning chose for each method and budget; methods without further settings are left out."""
    on = comparison.tuned_on
    title = "" if on is None else escape(f"tuned on {on.samples} samples of {on.data or 'the data'}, seed {on.seed}")
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), title=title)
    for column in ("method", "setting", "accuracy", "by default", "tried"):
        table.add_column(column, justify="left" if column in ("method", "setting") else "right")
    for row in comparison.rows:
        if row.candidates:
            found, default = (None if one is None else one.accuracy for one in (row.chosen, row.by_default))
            numbers = ("-" if number is None else f"{number:.3f}" for number in (found, default))
            table.add_row(*map(escape, (row.label, row.setting or "default", *numbers, str(len(row.candidates)))))
    return table


def _cells(row: Row) -> list[str]:
    low_high = "-" if row.retention_interval is None else "{:.0%}-{:.0%}".format(*row.retention_interval)
    return [
        row.label,
        f"{row.flops_ratio:.2f}x",
        f"{row.accuracy:.3f}",
        "-" if row.retention is None else f"{row.retention:.1%}",
        low_high,
        f"{row.agreement:.0%}",
        f"{row.kv_ratio:.2f}x",
        f"{row.prefill_ratio:.2f}x",
        f"{row.selection_share:.0%}",
    ]


def remarks(comparison: MethodComparison) -> list[str]:
    """Notes that the reader of the table needs, one line each."""
    flattering = []
    if comparison.calibrated_on:
        count = f"{comparison.calibrated_on} of {comparison.samples} samples"
        flattering = [f"the profile's plan was chosen on {count}, by their ids: on those it looks better than it is"]
    on = comparison.tuned_on
    if on is not None and on.shared:
        flattering.append(f"{on.shared} of the {on.samples} samples of the tuning are also in the comparison")
    resumed = [f"{comparison.resumed} samples were done by an earlier run"] if comparison.resumed else []
    return [LEGEND, *(f"not run: {line}" for line in not_run(comparison)), *flattering, *resumed]
