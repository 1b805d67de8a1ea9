"""The page of an analysis as text: it shows every finding, text stays inactive, and it loads nothing."""

import base64
import json
import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from probe.analysis.records import Analysis
from probe.analyzers.findings import AnyFinding, SampleTable, TokenMap, TokenWords
from probe.analyzers.visipruner_stages import visipruner_stages
from probe.report.analysed_examples import cards, visible
from probe.report.analysis_page import render_analysis, write_analysis_page
from probe.report.two_stories import PROBE, two_stories
from probe.report.two_stories_rules import Rules, slider_position, split
from tests.analyses import analysis
from tests.unit.probe.report.test_report import HOSTILE, Page


def small(**given: Any) -> Analysis:
    return analysis(**{"layers": 12, "samples": 20, "examples": 2, "side": 4} | given)


def without(found: Analysis, *probes: str) -> Analysis:
    return found.model_copy(update={"results": tuple(one for one in found.results if one.name not in probes)})


def test_every_kind_of_finding_is_on_the_page() -> None:
    found = small()
    kinds = {finding.kind for result in found.results for finding in result.findings}
    assert kinds == {kind.model_fields["kind"].default for kind in get_args(get_args(AnyFinding)[0])}
    page = Page(render_analysis(found))
    text = " ".join(page.text.split())
    assert "12 decoder layers, llava. 6 probes on 20 samples of scenes." in text
    assert "HalfV's stages, from the profile: I alignment , layers 0–3;" in text
    for result in found.results:
        assert result.title in text and result.question in text
        for finding in result.findings:
            # One is drawn with the stages, the others are read at a patch.
            assert finding.title in text or finding.name == "min_cosines" or isinstance(finding, TokenWords)
    charts = [attributes["id"] for _, attributes in page.elements if "chart" in (attributes.get("class") or "").split()]
    assert charts == ["stories", "p1-1", "p1-2", "p1-3", "p2-2", "p3-1", "p4-1", "p5-1", "p6-1", "p6-2"]
    assert "not measured: the last 3 samples" in text
    assert "halfv-probe analyze --model some/model --data scenes --samples 20" in text


def test_links_lead_to_places_on_the_page() -> None:
    page = Page(render_analysis(small()))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] or "" for tag, attributes in page.elements if tag == "a"]
    assert len(links) >= 10 and {link.removeprefix("#") for link in links} <= {str(id) for id in ids}
    references = [
        attributes.get(name) for _, attributes in page.elements for name in ("aria-labelledby", "aria-describedby")
    ]
    assert {one for one in references if one is not None} <= set(ids)


def test_text_from_outside_stays_text() -> None:
    text = render_analysis(small(text=HOSTILE))
    page = Page(text)
    assert page.text.count(HOSTILE) > 20
    types = [attributes.get("type") for tag, attributes in page.elements if tag == "script"]
    assert set(types[:-6]) == {"application/json"} and types[-6:] == ["text/plain", *[None] * 5]
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(pictures) == 2 and not any("onerror" in attributes for attributes in pictures)
    for data in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL):
        assert "<" not in data
        json.loads(data)


def test_an_image_cannot_leave_its_attribute() -> None:
    page = Page(render_analysis(small(webp=f'AAAA" onload="alert(1)" x="{HOSTILE}')))
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert all(set(attributes) == {"src", "width", "height", "alt"} for attributes in pictures)
    assert all((attributes["src"] or "").startswith("data:image/webp;base64,") for attributes in pictures)


def test_the_page_refers_to_nothing_outside() -> None:
    page = Page(render_analysis(small()))
    loads = [
        value or "" for _, attributes in page.elements for name, value in attributes.items() if name in ("src", "href")
    ]
    assert loads and all(address.startswith(("#", "data:")) for address in loads)
    assert not {"iframe", "object", "embed", "form", "base", "link"} & {
        tag for tag, attributes in page.elements if attributes.get("href") != "data:,"
    }
    policy = next(attributes["content"] for _, attributes in page.elements if attributes.get("http-equiv"))
    assert policy is not None and policy.startswith("default-src 'none'; script-src 'sha256-")


@pytest.mark.parametrize(
    ("given", "missing", "there"),
    [
        ({"stages": False}, ["HalfV's"], ["VisiPruner's stages"]),
        ({"examples": 0}, ["Examples", "Its maps"], ["VisiPruner's stages"]),
    ],
)
def test_what_was_not_measured_is_not_on_the_page(given: dict[str, Any], missing: list[str], there: list[str]) -> None:
    text = Page(render_analysis(small(**given))).text
    assert not [part for part in missing if part in text]
    assert all(part in text for part in there)


def test_without_contributions_there_is_one_story() -> None:
    found = without(small(), PROBE)
    assert two_stories(found) is None
    assert "VisiPruner" not in Page(render_analysis(found)).text


def test_examples_without_maps_have_their_picture_and_answer() -> None:
    page = Page(render_analysis(without(small(), "lens", PROBE)))
    assert "A red circle." in page.text
    tags = [tag for tag, _ in page.elements]
    assert tags.count("img") == 2 and "select" not in tags
    assert not [1 for _, attributes in page.elements if attributes.get("role") == "application"]


def test_the_stages_are_those_of_the_rules() -> None:
    found = small()
    finding = found.result(PROBE).finding("min_cosines")
    assert isinstance(finding, SampleTable)
    stages = visipruner_stages(finding.values)
    stories = two_stories(found)
    assert stories is not None
    by_default = split(finding.values, stories.rules)
    assert (by_default.middle, by_default.deep) == (stages.middle.layer, stages.deep.layer)
    bar = next(trace for trace in stories.figure.data if trace.name == "VisiPruner")
    assert list(bar.base) == [-0.5, by_default.middle - 0.5, by_default.deep - 0.5]
    assert sum(bar.x) == 12 and stories.halfv == (4, 9)
    assert [row[0] for row in stories.table.rows] == [*range(12), "never"]
    for column, layers in ((1, by_default.filters), (2, by_default.exits)):
        assert [row[column] for row in stories.table.rows] == [layers.count(layer) for layer in range(13)]


def test_a_slider_has_every_threshold_of_few_digits() -> None:
    thresholds = [0.01, 0.5, 0.9, 0.93, 0.99, 0.995, 0.999, 0.9999, 0.99999]
    positions = [slider_position(threshold) for threshold in thresholds]
    assert positions == [0, 49, 89, 119, 179, 229, 269, 359, 449]


def test_stages_that_never_begin_are_behind_the_last_layer() -> None:
    quiet, loud = [[1.0] * 4] * 3, [[0.5] * 4] * 3
    assert split(quiet, Rules(1))[2:] == (4, 4)
    assert split(loud, Rules(1))[2:] == (1, 4)
    assert split([[0.5, 0.5, 1.0, 1.0]] * 2 + loud[:1], Rules(0, votes=2))[2:] == (0, 4)
    assert split([[0.5, 0.5, 1.0, 1.0]] * 2 + loud[:1], Rules(0, votes=1))[2:] == (0, 3)


def test_maps_and_words_survive_their_packing() -> None:
    found = small()
    card = cards(found)[0]
    maps = [one for result in found.results for one in result.findings if isinstance(one, TokenMap)]
    own = [one for one in maps if one.example == card.example.id]
    assert len(own) == len(card.maps) == 2
    for finding, packed in zip(own, card.data["maps"], strict=True):
        values = np.array(finding.values)
        codes = np.array([list(base64.b64decode(row)) for row in packed["rows"]]) / 255
        low, high = (np.array(packed[end])[:, None] for end in ("low", "high"))
        assert np.abs(low + codes**2 * (high - low) - values).max() < 0.005 * (high - low).max()
    words = next(one for result in found.results for one in result.findings if isinstance(one, TokenWords))
    (packed,) = card.data["words"]
    shown = [
        [card.data["vocabulary"][number] for number in np.frombuffer(base64.b64decode(row), "<u2")]
        for row in packed["rows"]
    ]
    assert shown == [[visible(word) for word in row] for row in words.words]


def test_words_are_shown_with_their_white_space() -> None:
    assert [visible(word) for word in (" a", "\n\t", "", "\u202eab\x00", "蓝")] == [
        "␣a",
        "⏎⇥",
        "(empty)",
        "\\u202eab\\u0000",
        "蓝",
    ]


def test_maps_of_equal_values_can_be_drawn() -> None:
    flat = TokenMap(name="flat", title="Flat", example="sample 0", axis="layers", values=((0.0,) * 16,) * 12)
    found = small()
    result = found.results[0].model_copy(update={"findings": (flat,)})
    card = cards(found.model_copy(update={"results": (result,)}))[0]
    assert set(base64.b64decode(card.data["maps"][0]["rows"][0])) == {0}


def test_the_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "analysis.html"
    write_analysis_page(small(), path)
    assert path.read_text(encoding="utf-8") == render_analysis(small())
    assert list(path.parent.iterdir()) == [path]
