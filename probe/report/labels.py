"""Labels for stages, saturation types and verdicts, for the report."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from halfv_core.profile import Profile, SearchEffort, Stages
from probe.report.facts import comparison_rows, in_words, percent

TYPE_LABELS = {
    "layer_inactivity": "Stage III barely changes visual tokens, so they can be frozen there",
    "token_sparsity": "Stage III needs only a few visual tokens, so the rest can be dropped there",
    "none": "no treatment of Stage III was shown to be safe, so it is left alone",
}
"""What a saturation type means for the plan."""


class Span(NamedTuple):
    """The layers of one stage."""

    numeral: str
    name: str
    first: int
    last: int

    @property
    def layers(self) -> str:
        """The layers as text, such as "layers 2–20"."""
        return f"layer {self.first}" if self.first == self.last else f"layers {self.first}–{self.last}"


def stage_spans(stages: Stages, layers: int) -> list[Span]:
    """The stages with at least one of the `layers` decoder layers, in order; Stage III may be missing."""
    second = stages.aggregation_start
    third = layers if stages.saturation_start is None else stages.saturation_start
    spans = [
        Span("I", "alignment", 0, second - 1),
        Span("II", "aggregation", second, third - 1),
        Span("III", "saturation", third, layers - 1),
    ]
    return [span for span in spans if span.first <= span.last]


def search_sentence(search: SearchEffort) -> str:
    """What the search for the plan cost, in one sentence."""
    ran = f"The search predicted {search.considered:,} plans and ran {search.plans:,} of them"
    runs = f"{search.plan_samples:,} runs of a plan on a sample instead of {search.exhaustive:,}"
    passes = "" if search.passes is None else f"; the calibration took {search.passes:.3g} plain passes a sample"
    return f"{ran}, {runs}{passes}."


def verdict_rows(profiles: Sequence[Profile]) -> list[tuple[str, list[str]]]:
    """Decisions and gains of the profiles as table rows: a heading, and one cell for each profile."""
    rows: dict[str, Callable[[Profile], str]] = {
        "Decoder layers": lambda profile: str(profile.layers),
        "Visual tokens a prompt": lambda profile: f"{profile.expected.visual_tokens:.0f}",
        "Stage II begins": lambda profile: _begins(profile.stages.aggregation_start),
        "Stage III begins": lambda profile: _begins(profile.stages.saturation_start),
        "Saturation type": lambda profile: profile.saturation.type,
        "Plan": _plan,
        "Prefill FLOPs": lambda profile: f"{profile.expected.flops_ratio:.2f}× fewer",
        "KV cache": lambda profile: f"{profile.expected.kv_ratio:.2f}× smaller",
        "Same answers, held out": lambda profile: _agreement(profile.expected.agreement),
    }
    found = [(name, [cell(profile) for profile in profiles]) for name, cell in rows.items()]
    cautions = [" ".join(profile.cautions) or "nothing" for profile in profiles]
    return [*found, *comparison_rows(profiles), ("Cautions", cautions)]


def _plan(profile: Profile) -> str:
    described = in_words(profile.plan)
    return described if profile.method is None else f"{profile.method.name}: {described}"


def _begins(layer: int | None) -> str:
    return "never" if layer is None else f"layer {layer}"


def _agreement(share: float | None) -> str:
    return "not measured" if share is None else percent(share)
