"""Candidates of a search, drawn at random and listed in full."""

from collections.abc import Iterator
from itertools import combinations, product

from hypothesis import strategies as st

from halfv_core.cost import DecoderShape, LayerTokens, cost_of, tokens_by_layer
from halfv_core.plan import Plan
from probe.calibration.search.candidate import RATIOS, Candidate, Form, Pricing

VISUAL, TEXT = 57, 9


def shape_of(layers: int) -> DecoderShape:
    """A decoder with grouped queries."""
    return DecoderShape(layers=layers, hidden=8, query_width=8, kv_width=4, mlp=16, value_bytes=2)


def form_of(layers: int, few: float = 0.05, selector: str = "uniform") -> Form:
    """What the candidates have in common."""
    return Form(layers, few, selector, {})


def flops_pricing(layers: int, visual: int = VISUAL) -> Pricing:
    """Prefill FLOPs of a layer."""
    return Pricing(shape_of(layers).prefill_flops, visual, TEXT)


def flops_ratio(plan: Plan, layers: int, visual: int = VISUAL) -> float:
    """What a plan saves, by the tokens in each layer."""
    return cost_of(shape_of(layers), tokens_by_layer(plan, layers, visual, TEXT)).flops_ratio


def kv_pricing(layers: int, visual: int = VISUAL) -> Pricing:
    """Bytes of a layer's KV cache."""

    def cost(tokens: LayerTokens) -> float:
        return shape_of(layers).kv_bytes(tokens.visual + tokens.text)

    return Pricing(cost, visual, TEXT)


forms = st.builds(form_of, st.integers(2, 12), st.sampled_from([0.02, 0.05, 0.2, 0.5, 1.0]))


@st.composite
def proposed(draw: st.DrawFn) -> tuple[Form, Candidate]:
    """A form, and a candidate that may be valid or not."""
    form = draw(forms)
    layers = st.integers(1, form.layers + 1)
    shares = st.sampled_from(RATIOS) | st.floats(0.01, 0.99)
    keeps = draw(st.lists(st.tuples(layers, shares), max_size=4))
    if draw(st.booleans()):
        keeps = list(
            zip(sorted({layer for layer, _ in keeps}), sorted({s for _, s in keeps}, reverse=True), strict=False)
        )
    treatment = draw(st.none() | st.tuples(st.sampled_from(["freeze", "few"]), layers))
    selector = draw(st.sampled_from([None, None, "attention"]))
    return form, Candidate(tuple(keeps), treatment, draw(st.none() | layers), selector)


@st.composite
def valid(draw: st.DrawFn) -> tuple[Form, Candidate]:
    """A form, and a valid candidate, part by part."""
    form = draw(forms)
    end = draw(st.none() | st.integers(1, form.layers - 1))
    before = form.layers if end is None else end
    places = draw(st.sets(st.integers(1, before - 1), max_size=3)) if before > 1 else set()
    ratios = draw(st.sets(st.sampled_from(RATIOS), min_size=len(places), max_size=len(places)))
    keeps = tuple(zip(sorted(places), sorted(ratios, reverse=True), strict=True))
    last, share = keeps[-1] if keeps else (0, 1.0)
    treatments = [None, *(("freeze", start) for start in range(max(1, last), before))]
    treatments += [("few", start) for start in range(last + 1, before) if form.few < share]
    selector = draw(st.sampled_from([None, "attention"])) if keeps else None
    return form, Candidate(keeps, draw(st.sampled_from(treatments)), end, selector)


def every_candidate(form: Form, most_keeps: int = 2) -> Iterator[Candidate]:
    """All valid candidates of so many Keeps."""
    treatments = [None, *product(("freeze", "few"), range(1, form.layers))]
    for count in range(most_keeps + 1):
        for layers in combinations(range(1, form.layers), count):
            for ratios in combinations(sorted(RATIOS, reverse=True), count):
                for treatment, drop in product(treatments, [None, *range(1, form.layers)]):
                    candidate = Candidate(tuple(zip(layers, ratios, strict=True)), treatment, drop)
                    if candidate.is_valid(form):
                        yield candidate
