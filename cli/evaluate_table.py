"""The table that ends an evaluation: a column for each variant."""

from collections.abc import Callable

from rich.markup import escape
from rich.table import Table

from probe.common.statistics import CONFIDENCE
from probe.evaluation.ablation import Ablation
from probe.evaluation.outcomes import Summary

Cell = Callable[[Summary], str]

ROWS: tuple[tuple[str, Cell], ...] = (
    ("mean accuracy", lambda one: f"{one.accuracy:.3f}"),
    ("retention", lambda one: _number(one.retention, ".1%")),
    (f"  {CONFIDENCE:.0%} from", lambda one: _number(_low(one.retention_interval), ".1%")),
    ("  to", lambda one: _number(_high(one.retention_interval), ".1%")),
    ("same answers", lambda one: _number(one.agreement, ".1%")),
    ("log-likelihood", lambda one: _number(one.log_likelihood, ".3f")),
    ("  change", lambda one: _number(one.log_likelihood_change, "+.3f")),
    (f"  {CONFIDENCE:.0%} from", lambda one: _number(_low(one.log_likelihood_interval), "+.3f")),
    ("  to", lambda one: _number(_high(one.log_likelihood_interval), "+.3f")),
    ("FLOPs, visual", lambda one: f"{one.visual_flops_ratio:.2f}x"),
    ("FLOPs, decoder", lambda one: f"{one.flops_ratio:.2f}x"),
    ("FLOPs, model", lambda one: f"{one.model_flops_ratio:.2f}x"),
    ("KV cache", lambda one: f"{one.kv_ratio:.2f}x"),
    ("first token", lambda one: f"{one.first_token_ratio:.2f}x"),
)
"""Label and cell."""

LEGEND = (
    "Accuracy and log-likelihood (of the reference answers, nats a token) are means over the families. 3x reads "
    '"a third of the full model\'s". FLOPs are those of the prefill: of the visual tokens alone, of the decoder, of '
    "the whole model. First token: measured time, vision tower included."
)


def ablation_table(ablation: Ablation) -> Table:
    """Families, means, what was kept, what was saved."""
    table = Table(box=None, pad_edge=False, title=escape(f"{ablation.model_id}, {len(ablation.comparisons)} samples"))
    table.add_column("", no_wrap=True)
    for name in ablation.variants:
        table.add_column(name, justify="right", no_wrap=True)
    summaries = list(ablation.variants.values())
    for family in summaries[0].by_family:
        table.add_row(escape(family), *(f"{one.by_family[family]:.3f}" for one in summaries))
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
    """What the reader of the table must know, a line each."""
    left_out = [f"no {name}: {why}" for name, why in ablation.missing.items()]
    flattering = []
    if ablation.calibrated_on:
        count = f"{ablation.calibrated_on} of {len(ablation.comparisons)} samples"
        flattering = [f"the plan was chosen on {count}, by their ids: on those it looks better than it is"]
    stopped = [f"{ablation.resumed} samples were done by an earlier run"] if ablation.resumed else []
    return [LEGEND, *left_out, *flattering, *stopped]
