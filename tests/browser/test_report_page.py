"""The report page in a real browser (chromium): it draws, answers, fits and prints, and is quick about it."""

from pathlib import Path

import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys

from halfv_core.profile import Profile
from probe.report import Subject
from probe.report.labels import verdict_rows
from tests import profiles, proven_profiles
from tests.browser.window import LAPTOP, PHONE, Window

SHIPPED = sorted((Path(__file__).parents[2] / "data_samples" / "profiles").glob("*[!s].json"))
QWEN = profiles.qwen_like()
SEEN = Subject(QWEN, profiles.observations(QWEN))
SMALL = Subject(QWEN)
PROVEN = Subject(proven_profiles.proven())

LABELS = """
return [...document.querySelectorAll(".chart")].map(chart => {
  const frame = chart.getBoundingClientRect();
  const texts = chart.querySelectorAll(
    ":is(.annotation-text, .legendtext, .xtitle, .ytitle, .x2title, .y2title, .xtick text, .ytick text)");
  return [...texts].filter(text => text.checkVisibility({opacityProperty: true})).map(text => {
    const {left, top, right, bottom} = text.getBoundingClientRect();
    const across = left >= frame.left - 1 && right <= frame.right + 1;
    const inside = across && top >= frame.top - 1 && bottom <= frame.bottom + 1;
    return [`${chart.id}: ${text.textContent}`, left, top, right, bottom, inside];
  });
});
"""
"""For each chart its labels: text, edges, and whether it lies within the chart."""

NO_WEBGL = """
const get = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
  return kind.startsWith("webgl") ? null : get.call(this, kind, ...more);
};
"""


def shipped() -> list[Subject]:
    return [Subject(Profile.load(path)) for path in SHIPPED]


def test_every_chart_of_the_shipped_profiles_is_drawn(window: Window) -> None:
    window.open(shipped())
    assert window.value("document.querySelector('h1').textContent") == f"{len(SHIPPED)} models compared"
    window.run("for (const part of document.querySelectorAll('details')) part.open = true")
    drawn = window.draw_all()
    for place in ("all", *(f"m{number}" for number in range(1, len(SHIPPED) + 1))):
        assert {f"{place}-entropy", f"{place}-redundancy", f"{place}-frontier"} <= set(drawn)
    assert len(drawn) >= 3 + 8 * len(SHIPPED)
    assert window.errors() == []
    assert window.requests() <= {"file", "data", "blob", "about"}


def test_every_chart_of_a_profile_without_stage_three_is_drawn(window: Window) -> None:
    window.open([Subject(profiles.unsaturated())])
    assert "m1-entropy" in window.draw_all()
    assert window.errors() == []


def test_profiles_with_and_without_a_proof_are_drawn_side_by_side(window: Window) -> None:
    window.open([SMALL, PROVEN, Subject(proven_profiles.not_needed())])
    window.run("for (const part of document.querySelectorAll('details.model')) part.open = true")
    for chart in ("all-frontier", "m1-treatments", "m2-frontier", "m2-causes", "m3-causes"):
        window.draw(chart)
    assert not {"m2-treatments", "m1-causes"} & set(window.charts())
    assert window.errors() == []


def test_several_models_are_compared_and_each_has_its_own_part(window: Window) -> None:
    window.open(shipped())
    rows = verdict_rows([subject.profile for subject in shipped()])
    assert window.value("document.querySelectorAll('.versus tbody tr').length") == len(rows)
    assert window.value("document.querySelectorAll('details.model[open]').length") == 0
    window.chrome.find_element("css selector", ".contents a[href='#m2']").click()
    window.wait("document.querySelectorAll('details.model[open]').length == 1")
    window.draw("m2-entropy")
    assert window.errors() == []


def test_the_views_of_a_chart_are_real_buttons(window: Window) -> None:
    window.open([SMALL])
    window.draw("m1-entropy")
    press(window, "z-score")
    window.wait("document.querySelector('#m1-entropy .ytitle').textContent.includes('z-score')")
    first = window.value("document.getElementById('m1-entropy').data.find(trace => trace.name == 'visual').y[0]")
    assert first != pytest.approx(QWEN.curves.visual.mean[0])
    press(window, "depth %")
    window.wait("document.querySelector('#m1-entropy .xtitle').textContent.includes('depth')")
    assert window.value("document.querySelector('#m1-entropy .ytitle').textContent.includes('z-score')")
    press(window, "raw")
    window.wait("document.querySelector('#m1-entropy .ytitle').textContent.includes('nats')")
    assert window.value(
        "[...document.querySelectorAll('#m1-entropy-views [aria-pressed=true]')].map(b => b.textContent)"
    ) == [
        "raw",
        "depth %",
    ]


def test_single_samples_are_shown_on_demand(window: Window) -> None:
    window.open([SEEN])
    window.draw("m1-entropy")
    hidden = "document.getElementById('m1-entropy').data.filter(trace => trace.visible === 'legendonly').length"
    assert window.value(hidden) == 3
    press(window, "single samples")
    window.wait(f"{hidden} === 0")
    press(window, "single samples")
    window.wait(f"{hidden} === 3")


def test_an_example_shows_what_is_kept_and_both_answers(window: Window) -> None:
    window.open([SEEN])
    window.draw("m1-example-2")
    assert window.value("document.querySelectorAll('.card').length") == 2
    picture = "document.querySelector('#m1-example-2 .layer-below image, #m1-example-2 .imagelayer image')"
    assert window.value(f"{picture}.getAttribute('href') || {picture}.href.baseVal").startswith("data:image/")
    card = window.value("document.getElementById('m1-example-2').closest('.card').innerText")
    for words in ("What is this? red circle", "no red circle", "another answer"):
        assert words in card
    press(window, "Attention before Stage II", "m1-example-2")
    window.wait("document.querySelector('#m1-example-2 .gtitle').textContent.includes('attention at layer 1')")


def press(window: Window, label: str, chart: str = "m1-entropy") -> None:
    buttons = window.chrome.find_elements("css selector", f"#{chart}-views button")
    next(button for button in buttons if button.text == label).click()


def test_pointing_at_a_layer_shows_its_values(window: Window) -> None:
    window.open([SMALL])
    window.draw("m1-entropy")
    panel = window.chrome.find_element("css selector", "#m1-entropy .nsewdrag")
    ActionChains(window.chrome).move_to_element(panel).perform()
    window.wait("document.querySelector('#m1-entropy .hoverlayer .legend')")
    shown = window.value("document.querySelector('#m1-entropy .hoverlayer').textContent")
    middle = QWEN.layers // 2
    assert f"layer {middle}" in shown and f"{QWEN.curves.visual.mean[middle]:.3f}" in shown


@pytest.mark.parametrize(
    ("subject", "width", "scheme"),
    [
        ("deep", PHONE, "light"),
        ("measured", PHONE, "dark"),
        ("deep", LAPTOP, "dark"),
        ("proven", PHONE, "light"),
        ("proven", LAPTOP, "light"),
    ],
)
def test_the_page_fits_and_its_labels_can_be_read(window: Window, subject: str, width: int, scheme: str) -> None:
    window.open([{"deep": SEEN, "measured": shipped()[-1], "proven": PROVEN}[subject]], width, scheme=scheme)
    window.draw_all()
    assert window.value("document.documentElement.scrollWidth") <= width
    ink, paper = window.run(
        "const style = getComputedStyle(document.body); return [style.color, style.backgroundColor]"
    )
    assert (brightness(ink) > brightness(paper)) == (scheme == "dark")
    tick = window.value("getComputedStyle(document.querySelector('#m1-entropy .xtick text')).fill")
    assert abs(brightness(tick) - brightness(paper)) > 120
    for boxes in window.run(LABELS):
        assert [box[0] for box in boxes if not box[5]] == []
        pairs = [(one, two) for index, one in enumerate(boxes) for two in boxes[:index]]
        assert [(one[0], two[0]) for one, two in pairs if overlap(one[1:5], two[1:5])] == []


def test_a_comparison_fits_a_phone(window: Window) -> None:
    window.open(shipped(), PHONE)
    window.run("for (const part of document.querySelectorAll('details')) part.open = true")
    assert window.value("document.documentElement.scrollWidth") <= PHONE


def test_the_keyboard_reaches_everything(window: Window) -> None:
    window.open([SMALL])
    window.draw("m1-entropy")
    body = window.chrome.find_element("css selector", "body")
    body.send_keys(Keys.TAB)
    assert window.value("document.activeElement.className") == "skip"
    names = window.run(
        "const stops = document.querySelectorAll('button, summary, a[href]');"
        "return [...stops].map(stop => [stop.tabIndex, (stop.ariaLabel || stop.textContent).trim()])"
    )
    assert names and all(index == 0 and name for index, name in names)
    summary = window.chrome.find_element("xpath", "//details[.//table[@id='m1-entropy-table']]/summary")
    summary.send_keys(Keys.ENTER)
    assert window.value("document.getElementById('m1-entropy-table').checkVisibility()")
    summary.send_keys(Keys.TAB)  # the table, which scrolls
    window.chrome.switch_to.active_element.send_keys(Keys.TAB)
    assert window.value("document.activeElement.dataset.kind") == "csv"
    assert window.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_screen_reader_has_headings_names_and_tables(window: Window) -> None:
    window.open([SEEN])
    levels = window.value("[...document.querySelectorAll('h1, h2, h3, h4')].map(head => +head.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(lower - higher <= 1 for higher, lower in zip(levels, levels[1:], strict=False))
    named = window.value("[...document.querySelectorAll('[role=img]')].map(part => part.ariaLabel.length)")
    assert named and min(named) > 20
    bare = window.value(
        "[...document.querySelectorAll('table')].filter(t => !t.caption && !t.closest('[aria-label]')).length"
    )
    assert bare == 0
    assert window.value("document.querySelectorAll('th:not([scope])').length") == 0


def test_paper_has_every_chart_and_table_and_no_button(window: Window) -> None:
    window.open([SEEN], scheme="dark")
    window.on_paper()
    window.wait("document.querySelectorAll('details:not([open])').length == 0")
    window.wait("[...document.querySelectorAll('.chart')].every(box => box.querySelector('.main-svg'))")
    assert window.value("[...document.querySelectorAll('button')].every(button => !button.checkVisibility())")
    assert window.value("Math.max(...[...document.querySelectorAll('.chart')].map(box => box.layout.width))") < 700
    ink = window.value("getComputedStyle(document.querySelector('#m1-entropy .xtick text')).fill")
    assert brightness(ink) < 60
    window.run("dispatchEvent(new Event('afterprint'))")
    assert window.value("document.querySelectorAll('details[open]').length") == 0


def test_without_webgl_a_sentence_stands_for_the_3d_view(window: Window) -> None:
    added = window.chrome.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": NO_WEBGL})
    window.open([SMALL])
    window.run("document.getElementById('m1-spectrum-3d').scrollIntoView()")
    window.wait("document.querySelector('#m1-spectrum-3d.none').textContent.includes('no WebGL')")
    window.chrome.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    assert window.errors() == []


def test_plotly_is_parsed_with_the_first_chart(window: Window) -> None:
    window.open([SMALL], PHONE)  # where no chart is near the top
    window.wait("performance.getEntriesByType('navigation')[0].loadEventEnd > 0")
    assert window.value("typeof Plotly") == "undefined"
    window.draw("m1-entropy")
    assert window.value("[typeof Plotly, document.getElementById('plotly')]") == ["object", None]
    assert window.errors() == []


def test_a_hundred_samples_stay_small_and_quick(window: Window) -> None:
    page = window.open([SEEN])
    assert page.stat().st_size < 8_000_000
    window.draw("m1-entropy")
    loaded, painted = window.run(
        "const [page] = performance.getEntriesByType('navigation');"
        "return [page.loadEventEnd, performance.getEntriesByName('first-contentful-paint')[0].startTime]"
    )
    assert painted < 5_000 and loaded < 10_000  # a tenth of that on a quiet machine


def overlap(one: list[float], two: list[float]) -> bool:
    """Whether two boxes (left, top, right, bottom) share more than a pixel's edge."""
    return min(one[2], two[2]) - max(one[0], two[0]) > 1 and min(one[3], two[3]) - max(one[1], two[1]) > 1


def brightness(color: str) -> float:
    """Mean of the three channels of an rgb(...) colour."""
    return sum(float(part) for part in color[color.index("(") + 1 : -1].split(",")[:3]) / 3
