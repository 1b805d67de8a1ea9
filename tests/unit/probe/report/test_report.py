"""The report as text: it is complete, text from the data stays inactive, and the page loads nothing."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from halfv_core.plan import Freeze, Plan
from halfv_core.profile import Profile, Stages
from probe.report import CHARTS, Subject, render, stage_spans, write_report
from probe.report.depth import depth_bar
from tests import profiles, proven_profiles

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"
PROFILES = [profiles.qwen_like, profiles.llava_like, profiles.unsaturated]


class Page(HTMLParser):
    """The page as a browser sees it: elements with attributes, and the text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._raw = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._raw = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._raw = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._raw else f"{data} "


def hostile_profile(text: str = HOSTILE) -> Profile:
    return profiles.build(
        8,
        2,
        5,
        Plan((Freeze(layers=[5, 6, 7]),)),
        "layer_inactivity",
        model_id=text,
        data=text,
        sample_ids=(text,),
    )


def test_stage_labels_name_the_layers() -> None:
    figure = CHARTS["entropy"].make([Subject(profiles.llava_like())])
    assert figure is not None
    labels = [note.text for note in figure.layout.annotations]
    assert [re.sub("<.*?>", " ", label).split() for label in labels] == [
        ["I", "alignment", "layers", "0–2"],
        ["II", "aggregation", "layers", "3–14"],
        ["III", "saturation", "layers", "15–31"],
    ]


@pytest.mark.parametrize(
    ("aggregation", "saturation", "expected"),
    [
        (0, None, [("II", 0, 5)]),
        (2, None, [("I", 0, 1), ("II", 2, 5)]),
        (2, 5, [("I", 0, 1), ("II", 2, 4), ("III", 5, 5)]),
    ],
)
def test_stages_cover_every_layer_once(
    aggregation: int, saturation: int | None, expected: list[tuple[str, int, int]]
) -> None:
    stages = Stages(aggregation_start=aggregation, saturation_start=saturation, evidence={})
    assert [(span.numeral, span.first, span.last) for span in stage_spans(stages, 6)] == expected


def test_the_depth_bar_shows_what_the_plan_leaves() -> None:
    cells = depth_bar(profiles.qwen_like())
    assert [cell.layer for cell in cells] == list(range(28))
    assert [cells[layer].kept for layer in (0, 1, 2, 20, 21, 27)] == [1, 1, 0.25, 0.25, 0.05, 0.05]
    assert [cell.layer for cell in depth_bar(profiles.llava_like()) if cell.frozen] == list(range(15, 32))


def test_the_page_says_what_matters() -> None:
    profile = profiles.qwen_like()
    text = " ".join(Page(render([Subject(profile)])).text.split())
    for text_part in (
        "Visual information is gathered from layer 2 on and is saturated from layer 21 on.",
        "Saturation type token_sparsity",
        "3.31× fewer",
        "2.84× smaller",
        "Same answers 95 % of 20 held-out samples",
        *profile.plan.describe(),
        *profile.stages.evidence.values(),
        profile.saturation.reason,
        "Stage II begins at layer 2 (90% interval 2–2, wins 100% of 200 resamples).",
        "Stage III begins at layer 21 (90% interval 20–21, wins 80% of 200 resamples; layer 20 wins 15%).",
        "The tests of Stage III give token_sparsity in 94% of their resamples.",
        "The plan is safe in 92% of the resamples of its test. 80 samples were enough.",
        "28 decoder layers, qwen2_5_vl.",
        "layers 21–27 (90 % interval of its start: 20–21)",
        "halfv-probe calibrate --model qwen2.5-vl-7b --data scenes --samples 100",
        profile.provenance.config_fingerprint,
        "nnsight 0.8.1",
        *profile.provenance.sample_ids,
    ):
        assert text_part in text


def test_the_page_says_what_is_missing() -> None:
    text = " ".join(Page(render([Subject(profiles.unsaturated())])).text.split())
    for text_part in (
        "no layer was found at which it is saturated",
        "type none",
        "not measured",
        "The calibration did not measure this.",
    ):
        assert text_part in text


def test_the_page_says_what_is_proven_and_what_is_only_estimated() -> None:
    profile = proven_profiles.proven()
    assert profile.causes is not None and profile.certificate is not None
    assert profile.certificate.proven_plan is not None
    text = " ".join(Page(render([Subject(profile)])).text.split())
    first, rest = text.split("What was found", maxsplit=1)
    for part in (
        "2.64× shorter predicted",
        "Estimated retention 97.8 % of the score, on the 80 samples it was chosen on; the target is 97 %",
        "Held-out retention 96.8 % of the score, on 225 samples kept apart; 95 % of the answers are the same",
        "Proven, at least 94.1 % of the score, with 90% confidence; short of the target of 97 %",
    ):
        assert part in first
    for part in (
        "Another plan is proven to keep 97 % of the score, at 2.10× fewer FLOPs:",
        *profile.certificate.proven_plan.describe(),
        profile.certificate.sentence,
        "Where the picture stops mattering",
    ):
        assert part in rest
    assert "What Stage III can do without" not in text


@pytest.mark.parametrize(
    ("change", "facts", "plan"),
    [
        ({"proven": 0.975}, "which reaches the target of 97 %", None),
        ({"proven": None}, "Proven retention nothing the target is 97 %", None),
        ({"retention": None}, "Held-out retention not measured no samples were held out", None),
        ({"proven_plan": None}, "", "No plan that saves anything is proven to keep 97 % of the score."),
        ({"proven_plan": None, "samples_needed": 480}, "", "score; about 480 held-out samples would prove this one."),
        ({"proven_plan": proven_profiles.TAKEN}, "", "This plan is proven to keep 97 % of the score."),
    ],
)
def test_the_page_says_how_far_the_proof_goes(change: dict[str, object], facts: str, plan: str | None) -> None:
    profile = proven_profiles.proven()
    assert profile.certificate is not None
    certificate = profile.certificate.model_copy(update=change)
    text = " ".join(Page(render([Subject(profile.model_copy(update={"certificate": certificate}))])).text.split())
    assert facts in text and (plan or "") in text


def test_text_from_the_data_stays_text() -> None:
    sure = profiles.uncertainty(verdict=HOSTILE)
    page = Page(render([Subject(hostile_profile().model_copy(update={"uncertainty": sure}))]))
    assert page.text.count(HOSTILE) >= 4
    types = [attrs.get("type") for tag, attrs in page.elements if tag == "script"]
    assert set(types[:-4]) == {"application/json"} and types[-4:] == ["text/plain", None, None, None]
    assert not [tag for tag, _ in page.elements if tag == "img"]


def test_the_page_refers_to_nothing_outside() -> None:
    text = render([Subject(profiles.llava_like())])
    page = Page(text)
    loads = [value for _, attrs in page.elements for name, value in attrs.items() if name in ("src", "href", "action")]
    assert loads[0] == "data:," and all(str(address).startswith("#") for address in loads[1:])
    assert [tag for tag, _ in page.elements if tag in ("iframe", "object", "embed", "form", "base")] == []
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style
    policy = next(attrs["content"] for tag, attrs in page.elements if attrs.get("http-equiv"))
    assert policy is not None and policy.startswith("default-src 'none'; script-src 'sha256-")


def test_the_file_is_whole_and_small(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_report([Subject(profiles.qwen_like())], path)
    assert path.read_text(encoding="utf-8") == render([Subject(profiles.qwen_like())])
    assert path.stat().st_size < 6_000_000
    assert list(path.parent.iterdir()) == [path]
