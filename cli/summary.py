"""The final table of a calibration: the stages, the plan, and what it promises."""

from rich.markup import escape
from rich.table import Table

from halfv_core.profile import Profile
from probe.calibration.certainty import certainty, remaining_cautions
from probe.report.facts import proof_rows
from probe.report.labels import search_sentence, stage_spans


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
    proof, plan = proof_rows(profile), _plan_rows(profile)
    lines = [*plan, *proof, *_stage_rows(profile)] if proof else [*_stage_rows(profile), *plan]
    expected = profile.expected
    if expected.agreement is not None and expected.log_likelihood_drop is not None:
        answers = f"{expected.agreement:.1%} of {expected.held_out} answers as the full model gives them"
        lines.append(
            ("held-out samples", f"{answers}, log-likelihood {-expected.log_likelihood_drop:+.3f} nats a token")
        )
    lines += [("" if index else "mind", text) for index, text in enumerate(remaining_cautions(profile))]
    if profile.search is not None:
        lines.append(("search", search_sentence(profile.search)))
    steps = sorted(profile.provenance.seconds_by_step.items(), key=lambda item: -item[1])
    if steps:
        spent = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in steps if seconds >= 0.5)
        lines.append(("time", f"{profile.provenance.seconds:.0f} s: {spent}"))
    if profile.provenance.rejected:
        first = "; ".join(profile.provenance.rejected_first)
        lines.append(("rows not used", f"{profile.provenance.rejected}, among them {first}"))
    return lines


def _stage_rows(profile: Profile) -> list[tuple[str, str]]:
    spans = [(f"{span.numeral} {span.name}", span.layers) for span in stage_spans(profile.stages, profile.layers)]
    return [
        *spans,
        ("why", profile.stages.evidence["aggregation_start"]),
        ("", profile.stages.evidence["saturation_start"]),
        ("saturation type", profile.saturation.type),
        ("", profile.saturation.reason),
        *(("" if index else "how sure", text) for index, text in enumerate(certainty(profile))),
    ]


def _plan_rows(profile: Profile) -> list[tuple[str, str]]:
    expected, method = profile.expected, profile.method
    return [
        *([] if method is None else [("method", method.name)]),
        *(("" if index else "plan", text) for index, text in enumerate(profile.plan.describe())),
        ("prefill FLOPs", f"{expected.flops_ratio:.2f}x fewer, at {expected.visual_tokens:.0f} visual tokens a prompt"),
        ("KV cache", f"{expected.kv_ratio:.2f}x smaller"),
    ]
