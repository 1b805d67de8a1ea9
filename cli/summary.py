"""The short tables that end a calibration: what was found, and what the plan promises."""

from rich.markup import escape
from rich.table import Table

from halfv_core.profile import Profile


def summary_tables(profile: Profile) -> list[Table]:
    """Stages, type with evidence, plan and expectations, for people."""
    table = Table(box=None, show_header=False, pad_edge=False, title=escape(profile.provenance.model_id))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows(profile):
        table.add_row(name, escape(text))
    return [table]


def rows(profile: Profile) -> list[tuple[str, str]]:
    """Label and text of each line."""
    stages, expected = profile.stages, profile.expected
    end = profile.layers - 1
    third = stages.saturation_start
    lines = [
        ("I alignment", f"layers 0-{stages.aggregation_start - 1}"),
        ("II aggregation", _span(stages.aggregation_start, end if third is None else third - 1)),
        ("", stages.evidence.get("aggregation_start", "")),
        ("III saturation", "none" if third is None else _span(third, end)),
        ("", stages.evidence.get("saturation_start", "")),
        ("saturation type", profile.saturation.type),
        ("", profile.saturation.reason),
        *(("plan" if not index else "", text) for index, text in enumerate(profile.plan.describe())),
        ("prefill FLOPs", f"{expected.flops_ratio:.2f}x fewer ({expected.visual_tokens:.0f} visual tokens a prompt)"),
        ("KV cache", f"{expected.kv_ratio:.2f}x smaller"),
    ]
    if expected.agreement is not None:
        drop = expected.log_likelihood_drop or 0.0
        text = f"{expected.agreement:.1%} of {expected.held_out} answers as the full model's"
        lines.append(("held-out samples", f"{text}, log-likelihood down {drop:.3f} nats a token"))
    return lines


def _span(first: int, last: int) -> str:
    return f"layers {first}-{last}" if last > first else f"layer {first}"
