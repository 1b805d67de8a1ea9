"""The final table of a calibration: the stages, the plan, and what it promises."""

from rich.markup import escape
from rich.table import Table

from halfv_core.profile import Profile
from probe.calibration.certainty import certainty, remaining_cautions
from probe.report.labels import stage_spans


def summary_table(profile: Profile) -> Table:
    """A table of the stages, the saturation type, the plan and the expected savings."""
    table = Table(box=None, show_header=False, pad_edge=False, title=escape(profile.provenance.model_id))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in summary_rows(profile):
        table.add_row(name, escape(text))
    return table


def summary_rows(profile: Profile) -> list[tuple[str, str]]:
    """Label and text of each line; an empty label continues the line above."""
    expected, evidence, method = profile.expected, profile.stages.evidence, profile.method
    spans = [(f"{span.numeral} {span.name}", span.layers) for span in stage_spans(profile.stages, profile.layers)]
    lines = [
        *spans,
        ("why", evidence["aggregation_start"]),
        ("", evidence["saturation_start"]),
        ("saturation type", profile.saturation.type),
        ("", profile.saturation.reason),
        *(("" if index else "how sure", text) for index, text in enumerate(certainty(profile))),
        *([] if method is None else [("method", method.name)]),
        *(("" if index else "plan", text) for index, text in enumerate(profile.plan.describe())),
        ("prefill FLOPs", f"{expected.flops_ratio:.2f}x fewer, at {expected.visual_tokens:.0f} visual tokens a prompt"),
        ("KV cache", f"{expected.kv_ratio:.2f}x smaller"),
    ]
    if expected.agreement is not None and expected.log_likelihood_drop is not None:
        answers = f"{expected.agreement:.1%} of {expected.held_out} answers as the full model gives them"
        lines.append(
            ("held-out samples", f"{answers}, log-likelihood {-expected.log_likelihood_drop:+.3f} nats a token")
        )
    lines += [("" if index else "mind", text) for index, text in enumerate(remaining_cautions(profile))]
    steps = sorted(profile.provenance.seconds_by_step.items(), key=lambda item: -item[1])
    if steps:
        spent = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in steps if seconds >= 0.5)
        lines.append(("time", f"{profile.provenance.seconds:.0f} s: {spent}"))
    if profile.provenance.rejected:
        first = "; ".join(profile.provenance.rejected_first)
        lines.append(("rows not used", f"{profile.provenance.rejected}, among them {first}"))
    return lines
