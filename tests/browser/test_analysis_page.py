"""The page of an analysis in a real browser: it draws, fits and prints, and its rules are those of Python."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys

from probe.analyzers.findings import SampleTable, TokenMap, TokenWords
from probe.report.analysed_examples import visible
from probe.report.analysis_page import render_analysis
from probe.report.two_stories import two_stories
from probe.report.two_stories_rules import Rules, counts, slider_position, split
from tests.analyses import analysis
from tests.browser.test_report_page import LABELS, brightness, overlap
from tests.browser.window import LAPTOP, PHONE, Window

LAYERS = 12
SMALL = analysis(layers=LAYERS, samples=20, examples=2, side=4)
PAGE = render_analysis(SMALL)
CARD = "document.getElementById('x1')"
STORIES = "document.getElementById('stories')"
INPUT = """
const [input, value] = arguments;
input.value = value;
input.dispatchEvent(new Event("input", {bubbles: true}));
input.dispatchEvent(new Event("change", {bubbles: true}));
"""


@pytest.mark.parametrize(("width", "scheme"), [(PHONE, "dark"), (LAPTOP, "light")])
def test_everything_is_drawn_fits_and_can_be_read(window: Window, width: int, scheme: str) -> None:
    window.open_text(PAGE, width, scheme=scheme)
    assert len(window.draw_all()) == 10
    show(window, 1)
    assert window.value("document.documentElement.scrollWidth") <= width
    for boxes in window.run(LABELS):
        assert [box[0] for box in boxes if not box[5]] == []
        pairs = [(one, two) for index, one in enumerate(boxes) for two in boxes[:index]]
        assert [(one[0], two[0]) for one, two in pairs if overlap(one[1:5], two[1:5])] == []
    tick = window.value("getComputedStyle(document.querySelector('#p1-1 .xtick text')).fill")
    paper = window.value("getComputedStyle(document.body).backgroundColor")
    assert abs(brightness(tick) - brightness(paper)) > 120
    assert window.errors() == []
    assert window.requests() <= {"file", "data", "blob", "about"}


@pytest.mark.parametrize(
    "rules", [Rules(5, 0.93, 0.99, 1), Rules(1, 0.9999, 0.9), Rules(11), Rules(2, 0.5, 0.99999, 3)]
)
def test_moved_rules_give_the_stages_that_python_finds(window: Window, rules: Rules) -> None:
    window.open_text(PAGE)
    window.draw("stories")
    for name in ("filter_below", "exit_from"):
        move(window, name, slider_position(getattr(rules, name)))
        assert window.value(f"Number({rule(name)}.parentElement.querySelector('output').textContent)") == getattr(
            rules, name
        )
    move(window, "first", rules.first)
    move(window, "votes", rules.votes)
    assert shown_stages(window) == expected(rules)
    cells = "[...row.cells].slice(1, 3).map(cell => +cell.textContent)"
    rows = window.value(f"[...document.querySelectorAll('#stories-table tbody tr')].map(row => {cells})")
    found = split(cosines(), rules)
    assert rows == [
        list(row) for row in zip(*(counts(one, LAYERS) for one in (found.filters, found.exits)), strict=True)
    ]
    press(window, "#stories-rules button")
    published = two_stories(SMALL)
    assert published is not None and shown_stages(window) == expected(published.rules)
    assert window.errors() == []


def test_a_slider_moves_by_key_and_the_sentence_says_what_it_does(window: Window) -> None:
    window.open_text(PAGE)
    before = window.value("document.getElementById('stories-says').textContent")
    assert "With a filter below 0.995 from layer 2 on, 20 of 20 samples have a filter layer" in before
    assert "HalfV's stages are the same on" in before
    slider = window.chrome.find_element("name", "filter_below")
    slider.send_keys(Keys.ARROW_LEFT)
    assert slider.get_attribute("aria-valuetext") == "0.9949"
    after = window.value("document.getElementById('stories-says').textContent")
    assert after == before.replace("below 0.995 ", "below 0.9949 ")


def test_a_layer_and_a_map_are_chosen_and_painted(window: Window) -> None:
    window.open_text(PAGE)
    show(window, 1)
    first, second = maps()
    for finding, layer in ((first, 2), (first, 9), (second, LAYERS)):
        choose(window, finding, layer)
        values = np.array(finding.values[layer])
        light = painted(window).mean(-1) if finding is first else painted(window)[..., 0] - painted(window)[..., 2]
        assert np.corrcoef(np.argsort(np.argsort(values)), np.argsort(np.argsort(light.ravel())))[0, 1] > 0.9
    choose(window, first, 2)
    own = painted(window)
    press(window, "#x1 input[type=checkbox]")
    assert not np.array_equal(painted(window), own)
    assert window.value(f"{CARD}.querySelector('.strip tr[aria-current] th').textContent") == "2"
    heads = window.value(f"{CARD}.querySelector('.heads').innerText")
    assert "layer 2" in heads and visible("\n") in heads
    assert window.errors() == []


def test_a_patch_is_read_by_pointer_and_by_key(window: Window) -> None:
    window.open_text(PAGE)
    show(window, 1)
    finding = maps()[1]
    choose(window, finding, 3)
    panel = window.chrome.find_element("css selector", "#x1 .panel")
    size = panel.size
    place = ActionChains(window.chrome).move_to_element_with_offset(panel, size["width"] // 8, size["height"] // 8)
    place.perform()
    assert told(window) == patch(finding, 3, 10)
    window.run("arguments[0].focus()", panel)
    panel.send_keys(Keys.ARROW_UP, Keys.ARROW_LEFT)
    assert told(window) == patch(finding, 3, 5)
    panel.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert told(window) == patch(finding, 3, 4)
    choose(window, finding, 4)
    assert told(window) == patch(finding, 4, 4)


def test_heads_are_sorted_and_points_have_a_slider(window: Window) -> None:
    window.open_text(PAGE)
    window.draw("p1-2")
    buttons = window.chrome.find_elements("css selector", "#p1-2-views button")
    buttons[2].click()
    window.wait(
        "document.getElementById('p1-2').data[0].z.at(-1).every((value, at, row) => !at || value <= row[at - 1])"
    )
    window.draw("p5-1")
    slider = window.chrome.find_element("css selector", "#p5-1-views input")
    slider.send_keys(Keys.HOME)
    window.wait("document.getElementById('p5-1').data.findIndex(trace => trace.visible === true) === 0")
    assert window.value("document.querySelector('#p5-1-views output').textContent") == "0"
    assert window.errors() == []


def test_paper_has_charts_maps_and_words_and_no_control(window: Window) -> None:
    window.open_text(PAGE, scheme="dark")
    window.on_paper()
    window.wait("[...document.querySelectorAll('.chart')].every(box => box.querySelector('.main-svg'))")
    window.run("dispatchEvent(new Event('beforeprint'))")
    assert np.ptp(painted(window)) > 50
    assert window.value("document.querySelectorAll('.heads tbody tr').length") == 8
    controls = "[...document.querySelectorAll('button, input, select')]"
    assert window.value(f"{controls}.every(control => !control.checkVisibility())")
    assert window.value(
        f"{CARD}.querySelector('.strip').scrollHeight <= {CARD}.querySelector('.strip').clientHeight + 1"
    )
    ink = window.value("getComputedStyle(document.querySelector('#p1-1 .xtick text')).fill")
    assert brightness(ink) < 60


def test_every_control_has_a_name_and_can_be_reached(window: Window) -> None:
    window.open_text(PAGE)
    window.draw_all()
    show(window, 1)
    names = window.run(
        "const stops = document.querySelectorAll('button, summary, a[href], input, select, [role=application]');"
        "return [...stops].map(stop => [stop.tabIndex,"
        " (stop.ariaLabel || stop.labels?.[0]?.textContent || stop.textContent).trim()])"
    )
    assert names and all(index == 0 and name for index, name in names)
    levels = window.value("[...document.querySelectorAll('h1, h2, h3, h4')].map(head => +head.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(lower - higher <= 1 for higher, lower in zip(levels, levels[1:], strict=False))


def test_hostile_text_is_shown_and_does_nothing(window: Window) -> None:
    attack = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"><a href='https://x.example'>%{y}"
    window.open_text(render_analysis(analysis(layers=6, samples=5, examples=1, side=2, text=attack)))
    window.draw_all()
    show(window, 1)
    panel = window.chrome.find_element("css selector", "#x1 .panel")
    window.run("arguments[0].focus()", panel)
    assert attack in window.value("document.querySelector('h1').textContent")
    assert "owned" in told(window)
    assert window.chrome.title.startswith("halfv-probe: some/model")
    links = (
        "[...document.querySelectorAll('a')].map(link => link.getAttribute('href') || link.getAttribute('xlink:href'))"
    )
    assert all(link.startswith("#") for link in window.value(links))
    assert window.value("document.querySelectorAll('img').length") == 1
    assert window.value("document.querySelectorAll('bdi').length") > 20
    assert window.value("document.querySelectorAll('bdi *').length") == 0
    assert window.errors() == []
    assert window.requests() <= {"file", "data", "blob", "about"}


def test_six_examples_stay_small_and_quick(window: Window) -> None:
    page = render_analysis(analysis(examples=6, side=24))
    assert len(page.encode()) < 8_000_000
    window.open_text(page)
    window.draw("stories")
    loaded, painted = window.run(
        "const [page] = performance.getEntriesByType('navigation');"
        "return [page.loadEventEnd, performance.getEntriesByName('first-contentful-paint')[0].startTime]"
    )
    assert painted < 5_000 and loaded < 10_000  # a tenth and less of that on a quiet machine


def cosines() -> Any:
    finding = SMALL.result("contribution").finding("min_cosines")
    assert isinstance(finding, SampleTable)
    return finding.values


def maps() -> list[TokenMap]:
    """Those of the first example, in the order of the menu."""
    found = [finding for result in SMALL.results for finding in result.findings if isinstance(finding, TokenMap)]
    return [finding for finding in found if finding.example == SMALL.examples[0].id]


def rule(name: str) -> str:
    return f"document.querySelector('#stories-rules [name={name}]')"


def move(window: Window, name: str, value: int) -> None:
    window.run(INPUT, window.chrome.find_element("css selector", f"#stories-rules [name={name}]"), value)


def press(window: Window, selector: str) -> None:
    window.run("arguments[0].click()", window.chrome.find_element("css selector", selector))


def shown_stages(window: Window) -> list[Any]:
    """Histograms, and starts and lengths of VisiPruner's stages, as they are drawn."""
    return list(
        window.run(
            f"const data = {STORIES}.data, trace = (meta) => data.find((one) => one.meta === meta);"
            "return [trace('filter').y, trace('exit').y, trace('VisiPruner').base, trace('VisiPruner').x]"
        )
    )


def expected(rules: Rules) -> list[Any]:
    found = split(cosines(), rules)
    starts = [0, found.middle, found.deep, LAYERS]
    return [
        counts(found.filters, LAYERS),
        counts(found.exits, LAYERS),
        [start - 0.5 for start in starts[:3]],
        [end - start for start, end in zip(starts, starts[1:], strict=False)],
    ]


def show(window: Window, number: int) -> None:
    """Come near an example, and wait until it is drawn."""
    window.run(f"document.getElementById('x{number}').scrollIntoView()")
    window.wait(f"document.querySelector('#x{number} .tools output').textContent !== ''")


def choose(window: Window, finding: TokenMap, layer: int) -> None:
    window.run(INPUT, window.chrome.find_element("css selector", "#x1 select"), str(maps().index(finding)))
    window.run(INPUT, window.chrome.find_element("css selector", "#x1 input[type=range]"), layer)


def painted(window: Window) -> np.ndarray[Any, Any]:
    """(4, 4, 4) colour in the middle of each patch of the first example's canvas, weighted by its opacity."""
    address = window.value(f"{CARD}.querySelector('canvas').toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))) as image:
        pixels = np.asarray(image.convert("RGBA")).astype(float)
    height, width = pixels.shape[:2]
    return pixels[height // 8 :: height // 4, width // 8 :: width // 4][:4, :4]


def told(window: Window) -> str:
    return str(window.value(f"{CARD}.querySelector('.patch').textContent"))


def patch(finding: TokenMap, layer: int, token: int) -> str:
    """What the page says of a patch, with the value of its byte."""
    words = next(one for one in SMALL.result("lens").findings if isinstance(one, TokenWords))
    row = np.array(finding.values[layer])
    code = np.rint(255 * np.sqrt((row[token] - row.min()) / (row.max() - row.min())))
    value = row.min() + (code / 255) ** 2 * (row.max() - row.min())
    return f"Patch {token}, input of layer {layer}: {value:.3g} nats; word “{visible(words.words[layer][token])}”"
