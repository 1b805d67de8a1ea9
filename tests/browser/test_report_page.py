"""The report page in a real browser (chromium): it draws, runs nothing but its own code, and opens no connection.

Skipped where there is no chromium, except in CI, which installs it.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from halfv_core.profile import Profile
from probe.report import write_report
from tests import profiles
from tests.unit.probe.test_report import PROFILES, hostile_profile

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE, LAPTOP = 390, 1280

LABEL_BOXES = """
const chart = document.getElementById("entropy").getBoundingClientRect();
const labels = "#entropy :is(.annotation-text, .legendtext, .ytitle, .y2title, .x2title, .ytick text, .x2tick text)";
return [...document.querySelectorAll(labels)].map(text => {
  const box = text.getBoundingClientRect();
  const [left, top, right, bottom] = [box.left, box.top, box.right, box.bottom];
  const inside = left >= chart.left && right <= chart.right && top >= chart.top && bottom <= chart.bottom;
  return [text.textContent, left, top, right, bottom, inside];
});
"""
"""Text, edges, and whether it lies within the chart, of every label."""

Open = Callable[[Profile], Chrome]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    driver = shutil.which("chromedriver")
    if not (driver and shutil.which("chromium")):
        if os.environ.get("CI"):
            pytest.fail("CI needs chromium and chromedriver; .ci/run installs them")
        pytest.skip("needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    options = ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


@pytest.fixture
def show(browser: Chrome, tmp_path: Path) -> Open:
    """Opens the report of a profile and waits until both charts are drawn."""

    def open_page(profile: Profile, width: int = LAPTOP, scheme: str = "light") -> Chrome:
        write_report(profile, tmp_path / "report.html")
        for log in ("browser", "performance"):
            browser.get_log(log)
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == PHONE}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get((tmp_path / "report.html").as_uri())
        wait_for(
            browser, "document.querySelectorAll('#entropy .point').length && document.querySelector('#spectrum image')"
        )
        return browser

    return open_page


def wait_for(browser: Chrome, condition: str) -> None:
    deadline = time.monotonic() + 20
    while not browser.execute_script(f"return Boolean({condition})"):
        assert time.monotonic() < deadline, f"never true: {condition}"
        time.sleep(0.05)


def requests(browser: Chrome) -> list[str]:
    """Addresses that the page asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    return [parameters["request"]["url"] for parameters in sent]


@pytest.mark.parametrize("make", PROFILES)
def test_every_chart_is_drawn(show: Open, make: Callable[[], Profile]) -> None:
    profile = make()
    browser = show(profile)
    points = browser.execute_script(
        "return [...document.querySelectorAll('#entropy .scatterlayer .trace')]"
        ".map(trace => trace.querySelectorAll('.point').length).filter(Boolean)"
    )
    zero = 1
    assert points == [profile.layers + 1] * 3 + [profile.layers - zero, zero]
    lines = browser.execute_script(
        "return [...document.querySelectorAll('#entropy .scatterlayer .js-line')].map(line => line.getTotalLength())"
    )
    assert len(lines) >= 4 and min(lines) > 100
    assert browser.execute_script("return document.querySelector('#spectrum image').href.baseVal.length") > 100
    assert browser.get_log("browser") == []


def test_nothing_is_asked_of_the_network(show: Open) -> None:
    asked = requests(show(profiles.llava_like()))
    assert asked and {address.split(":")[0] for address in asked} <= {"file", "data", "blob"}


def test_a_hostile_name_runs_nothing(show: Open) -> None:
    profile = hostile_profile()
    browser = show(profile)
    assert browser.title == f"halfv-probe: {profile.provenance.model_id}"
    assert browser.execute_script("return document.querySelector('h1').textContent") == profile.provenance.model_id
    assert browser.get_log("browser") == []


def test_the_policy_blocks_a_script_that_is_not_the_reports_own(show: Open) -> None:
    browser = show(profiles.qwen_like())
    browser.execute_script(
        "const own = document.createElement('script'); own.textContent = 'window.owned = true';"
        "document.body.append(own);"
    )
    assert browser.execute_script("return window.owned") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, LAPTOP])
def test_the_page_fits_and_is_readable(show: Any, width: int, scheme: str) -> None:
    browser = show(profiles.qwen_like(), width, scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    ink, paper = browser.execute_script(
        "const style = getComputedStyle(document.body); return [style.color, style.backgroundColor]"
    )
    assert (brightness(ink) > brightness(paper)) == (scheme == "dark")
    tick = browser.execute_script("return getComputedStyle(document.querySelector('#entropy .x2tick text')).fill")
    assert abs(brightness(tick) - brightness(paper)) > 120


@pytest.mark.parametrize("width", [PHONE, LAPTOP])
def test_no_label_of_a_chart_is_cut_off_or_covers_another(show: Any, width: int) -> None:
    browser = show(profiles.qwen_like(), width)
    boxes = browser.execute_script(LABEL_BOXES)
    assert boxes and [box[0] for box in boxes if not box[5]] == []
    pairs = [(one, two) for index, one in enumerate(boxes) for two in boxes[:index]]
    assert [(one[0], two[0]) for one, two in pairs if overlap(one[1:5], two[1:5])] == []


def overlap(one: list[float], two: list[float]) -> bool:
    """Whether two boxes (left, top, right, bottom) share more than a pixel's edge."""
    return min(one[2], two[2]) - max(one[0], two[0]) > 1 and min(one[3], two[3]) - max(one[1], two[1]) > 1


def test_pointing_at_a_layer_shows_its_values(show: Open) -> None:
    profile = profiles.qwen_like()
    browser = show(profile)
    panel = browser.find_element("css selector", "#entropy .nsewdrag")
    ActionChains(browser).move_to_element(panel).perform()
    wait_for(browser, "document.querySelector('#entropy .hoverlayer .legend')")
    shown = browser.execute_script("return document.querySelector('#entropy .hoverlayer').textContent")
    middle = profile.layers // 2
    assert f"layer {middle}" in shown and f"{profile.curves.visual.mean[middle]:.3f}" in shown


def brightness(color: str) -> float:
    """Mean of the three channels of an rgb(...) colour."""
    return sum(float(part) for part in color[color.index("(") + 1 : -1].split(",")[:3]) / 3
