"""Analyses without a model, for tests of what reads them: findings of every kind, with plausible shapes."""

import numpy as np

from halfv_core.records import Provenance, Stages
from probe.analysis.records import AnalysedExample, Analysis, ProbeResult
from probe.analyzers.findings import (
    AnyFinding,
    Array,
    HeadWords,
    SampleTable,
    ScatterPoints,
    StateMatrix,
    TokenMap,
    TokenWords,
    Words,
    bars,
    head_map,
    layer_series,
)
from probe.calibration.observations import Picture
from probe.common.region import Region
from tests import profiles

WORDS = ("red", " circle", "\n", "", "▁the", "蓝色", "zwölf", "ing", "\u202eevil", " a rather long word indeed")


def analysis(
    layers: int = 32,
    samples: int = 100,
    examples: int = 2,
    side: int = 8,
    *,
    text: str = "",
    stages: bool = True,
    webp: str | None = None,
) -> Analysis:
    """An analysis with one probe for each of a few kinds of findings.

    Args:
        side: visual tokens in a row and in a column of an image.
        text: put into everything that comes from the user, from data or from a model.
    """
    draw = np.random.default_rng(0)
    ids = tuple(f"sample {number}{text}" for number in range(samples))
    shown = ids[:examples]
    return Analysis(
        layers=layers,
        stages=Stages(aggregation_start=3 * layers // 8, saturation_start=3 * layers // 4, evidence={})
        if stages
        else None,
        results=(
            _result("shares", "Where the last token looks", _shares(layers, samples, draw, text), text),
            _result("contribution", "Which tokens matter", _contribution(layers, samples, shown, side, draw), text),
            _result("lens", "What layers would say", _lens(layers, samples, shown, side, draw, text), text),
            _result("geometry", "How alike layers are", _geometry(layers, text), text),
            _result("sinks", "Sinks", _sinks(layers, shown, side, draw, text), text),
            _result("knockout", "What the answer needs", _knockout(layers, samples, draw, text), text),
        ),
        examples=tuple(_example(id, side, text, profiles.tiny_webp() if webp is None else webp) for id in shown),
        provenance=_provenance(ids, text),
    )


def cosines(layers: int, samples: int, draw: np.random.Generator) -> Array:
    """(samples, L) smallest cosine similarities: visual tokens matter in the middle of the decoder."""
    depth = np.arange(layers)[None] / layers
    start, end = draw.normal(0.4, 0.06, (samples, 1)), draw.normal(0.75, 0.08, (samples, 1))
    inside = 1 / (1 + np.exp(-40 * (depth - start))) / (1 + np.exp(40 * (depth - end)))
    distance = 10 ** (-3.7 + 2.6 * inside + draw.normal(0, 0.12, (samples, layers)))
    distance[:, 0] = 0.2
    return 1 - distance


def _result(name: str, title: str, findings: list[AnyFinding], text: str) -> ProbeResult:
    return ProbeResult(name=name, title=f"{title}{text}", question=f"{title}?{text}", findings=tuple(findings))


def _shares(layers: int, samples: int, draw: np.random.Generator, text: str) -> list[AnyFinding]:
    depth = np.arange(layers) / layers
    visual = 0.6 * np.exp(-((depth - 0.4) ** 2) / 0.05) + draw.uniform(0, 0.1, (samples, layers))
    before = (1 - visual) * 0.6
    title = f"Share of the last prompt token's attention, mean over heads{text}"
    heads = draw.beta(1, 6, (samples, layers, 16)) * visual[..., None] * 3
    return [
        *(
            layer_series(f"share_{group}", rows, axis="layers", title=title, group=f"{group}{text}")
            for group, rows in (("before", before), ("visual", visual), ("after", 1 - visual - before))
        ),
        head_map("visual_share_by_head", heads, title=f"Share of attention that goes to visual tokens{text}"),
        head_map("signed", heads - heads.mean(), title="Above and below the mean", unit=f"share{text}"),
    ]


def _contribution(
    layers: int, samples: int, shown: tuple[str, ...], side: int, draw: np.random.Generator
) -> list[AnyFinding]:
    rows = tuple(map(tuple, cosines(layers, samples, draw).tolist()))
    kept = tuple((float(number),) for number in draw.poisson(9, samples))
    maps: list[AnyFinding] = [
        TokenMap(
            name=f"contribution_{number}",
            title="Length of each token's part",
            example=id,
            axis="layers",
            values=_map(layers, side, draw, power=3.0),
        )
        for number, id in enumerate(shown)
    ]
    return [
        SampleTable(name="min_cosines", title="Smallest cosine similarity", axis="layers", values=rows),
        SampleTable(name="kept", title="Tokens that the filter keeps", unit="tokens", values=kept),
        *maps,
    ]


def _lens(
    layers: int, samples: int, shown: tuple[str, ...], side: int, draw: np.random.Generator, text: str
) -> list[AnyFinding]:
    certain = 1 / (1 + np.exp(-(np.arange(layers + 1) - 0.7 * layers)))
    found: list[AnyFinding] = [
        layer_series(
            "answer",
            certain * draw.uniform(0.5, 1, (samples, 1)) + 1e-6,
            axis="states",
            title="Probability of the answer's first token",
        )
    ]
    for number, id in enumerate(shown):
        chosen = draw.integers(len(WORDS), size=(layers + 1, side * side))
        rows = tuple(
            tuple((f"{WORDS[int(word)]}{text}", float(share)) for word, share in zip(order, shares, strict=True))
            for order, shares in zip(
                draw.integers(len(WORDS), size=(layers + 1, 5)),
                np.sort(draw.dirichlet(np.ones(5), layers + 1), axis=1)[:, ::-1],
                strict=True,
            )
        )
        found += [
            Words(name=f"last_{number}", title="Likeliest next words", example=id, axis="states", rows=rows),
            HeadWords(
                name=f"heads_{number}",
                title="What each head would write",
                example=id,
                rows=tuple(
                    tuple(((f"{WORDS[(layer + head) % len(WORDS)]}{text}", 0.5), ("other", 0.1)) for head in range(4))
                    for layer in range(layers)
                ),
            ),
            TokenWords(
                name=f"patches_{number}",
                title="Likeliest words of patches",
                example=id,
                axis="states",
                words=tuple(tuple(f"{WORDS[word]}{text}" for word in row) for row in chosen.tolist()),
            ),
            TokenMap(
                name=f"log_odds_{number}",
                title=f"Log-odds of the answer{text}",
                unit="nats",
                example=id,
                axis="states",
                values=tuple(map(tuple, draw.normal(0, 2, (layers + 1, side * side)).tolist())),
            ),
        ]
    return found


def _geometry(layers: int, text: str) -> list[AnyFinding]:
    apart = np.abs(np.subtract.outer(np.arange(layers + 1), np.arange(layers + 1)))
    return [
        StateMatrix(
            name=f"cka_{group}",
            title=f"Linear CKA{text}",
            group=f"{group}{text}",
            mean=tuple(map(tuple, np.exp(-apart / scale).tolist())),
        )
        for group, scale in (("visual", 12.0), ("text", 5.0))
    ]


def _sinks(layers: int, shown: tuple[str, ...], side: int, draw: np.random.Generator, text: str) -> list[AnyFinding]:
    each = len(shown) * side * side
    count = layers * each
    attention = 10 ** draw.normal(-3, 0.7, count)
    return [
        ScatterPoints(
            name="sinks",
            title=f"Attention against value norm{text}",
            x_title=f"attention{text}",
            y_title="value norm",
            layers=tuple(layer for layer in range(layers) for _ in range(each)),
            x=tuple(attention.tolist()),
            y=tuple((5 - np.log10(attention) * draw.uniform(0.5, 1.5, count)).tolist()),
            labels=tuple(f"token {point % each}{text}" for point in range(count)),
        ),
    ]


def _knockout(layers: int, samples: int, draw: np.random.Generator, text: str) -> list[AnyFinding]:
    pairs = ("image to last", "image to question", "question to last", "last to last")
    depth = np.arange(layers) / layers
    names = ("all layers", "window in the middle", f"text layers only, beyond the first quarter of the decoder{text}")
    return [
        *(
            layer_series(
                f"knockout_{index}",
                draw.normal(-40 * np.exp(-((depth - 0.2 * (index + 1)) ** 2) / 0.01), 10, (samples, layers)),
                axis="layers",
                title="Change of the answer's probability without the attention in a window",
                unit="%",
                group=f"{pair}{text}",
            )
            for index, pair in enumerate(pairs)
        ),
        bars("blocks", names, draw.normal([-60, -20, 3], 9, (samples, 3)), title="Without shallow blocks", unit="%"),
    ]


def _map(layers: int, side: int, draw: np.random.Generator, power: float) -> tuple[tuple[float, ...], ...]:
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    rows = []
    for layer in range(layers):
        at = side * (0.3 + 0.4 * layer / layers)
        near = np.exp(-((x - at) ** 2 + (y - at) ** 2) / (side * 0.6))
        rows.append(tuple(((near + 0.1 * draw.uniform(size=near.shape)) ** power).ravel().tolist()))
    return tuple(rows)


def _example(id: str, side: int, text: str, webp: str) -> AnalysedExample:
    regions = tuple(
        Region(0, column / side, row / side, (column + 1) / side, (row + 1) / side)
        for row in range(side)
        for column in range(side)
    )
    return AnalysedExample(
        id=id,
        question=f"What is in the picture?{text}",
        references=(f"a circle{text}",),
        answer=f"A red circle.{text}",
        pictures=(Picture(width=640, height=480, webp=webp),),
        regions=regions,
    )


def _provenance(ids: tuple[str, ...], text: str) -> Provenance:
    return Provenance(
        model_id=f"some/model{text}",
        model_type="llava",
        config_fingerprint="9f" * 32,
        data=f"scenes{text}",
        data_fingerprint="1c" * 32,
        sample_ids=ids,
        held_out_ids=(),
        seed=0,
        arguments_given={"model": f"some/model{text}", "data": f"scenes{text}", "samples": len(ids)},
        arguments_resolved={"samples": len(ids)},
        versions={"torch": "2.13.0"},
        device="cpu",
        dtype="float32",
        created="2026-11-26T05:00:00+00:00",
        seconds=141.2,
        dropped=(f"the last 3 samples, to stay within the budget{text}",),
    )
