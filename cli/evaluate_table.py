"""The final table of an evaluation, with one column per variant."""

from collections.abc import Callable

from rich.markup import escape
from rich.table import Table

from probe.common.statistics import CONFIDENCE
from probe.evaluation.ablation import Ablation
from probe.evaluation.outcomes import Summary

Cell = Callable[[Summary], str]

ROWS: tuple[tuple[str, Cell], ...] = (
    ("mean accuracy", lambda summary: f"{summary.accuracy:.3f}"),
    ("retention", lambda summary: _number(summary.retention, ".1%")),
    (f"  {CONFIDENCE:.0%} from", lambda summary: _number(_low(summary.retention_interval), ".1%")),
    ("  to", lambda summary: _number(_high(summary.retention_interval), ".1%")),
    ("same answers", lambda summary: _number(summary.agreement, ".1%")),
    ("log-likelihood", lambda summary: _number(summary.log_likelihood, ".3f")),
    ("  change", lambda summary: _number(summary.log_likelihood_change, "+.3f")),
    (f"  {CONFIDENCE:.0%} from", lambda summary: _number(_low(summary.log_likelihood_interval), "+.3f")),
    ("  to", lambda summary: _number(_high(summary.log_likelihood_interval), "+.3f")),
    ("FLOPs, visual", lambda summary: f"{summary.visual_flops_ratio:.2f}x"),
    ("FLOPs, decoder", lambda summary: f"{summary.flops_ratio:.2f}x"),
    ("FLOPs, model", lambda summary: f"{summary.model_flops_ratio:.2f}x"),
    ("KV cache", lambda summary: f"{summary.kv_ratio:.2f}x"),
    ("first token", lambda summary: f"{summary.first_token_ratio:.2f}x"),
)
"""Label of each row, and the text of its cells."""

LEGEND = (
    "Accuracy and log-likelihood (of the reference answers, nats a token) are means over the families. 3x reads "
    '"a third of the full model\'s". FLOPs are those of the prefill: of the visual tokens alone, of the decoder, of '
    "the whole model. First token: measured time, vision tower included."
)


def ablation_table(ablation: Ablation) -> Table:
    """Accuracy by family, then means, agreement and savings."""
    table = Table(box=None, pad_edge=False, title=escape(f"{ablation.model_id}, {len(ablation.comparisons)} samples"))
    table.add_column("", no_wrap=True)
    for name in ablation.variants:
        table.add_column(name, justify="right", no_wrap=True)
    summaries = list(ablation.variants.values())
    for family in summaries[0].by_family:
        table.add_row(escape(family), *(f"{summary.by_family[family]:.3f}" for summary in summaries))
    table.add_section()
    for label, cell in ROWS:
        table.add_row(label, *map(cell, summaries), style="bold" if label == "mean accuracy" else None)
    return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def _low(interval: tuple[float, float] | None) -> float | None:
    return interval[0] if interval else None


def _high(interval: tuple[float, float] | None) -> float | None:
    return interval[1] if interval else None


def remarks(ablation: Ablation) -> list[str]:
    """Notes that the reader of the table needs, one line each."""
    left_out = [f"no {name}: {why}" for name, why in ablation.missing.items()]
    flattering = []
    if ablation.calibrated_on:
        count = f"{ablation.calibrated_on} of {len(ablation.comparisons)} samples"
        flattering = [f"the plan was chosen on {count}, by their ids: on those it looks better than it is"]
    resumed = [f"{ablation.resumed} samples were done by an earlier run"] if ablation.resumed else []
    return [LEGEND, *left_out, *flattering, *resumed]
