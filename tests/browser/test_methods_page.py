"""The page of a comparison of methods in a real browser: it draws, its key works, and it fits."""

import pytest
from selenium.webdriver import ActionChains

from probe.report.methods_page import render_methods
from tests.browser.window import LAPTOP, PHONE, Window
from tests.comparisons import comparison

SHOWN = "document.getElementById('m1-methods').data.filter(line => line.visible !== false).length"


@pytest.mark.parametrize(("methods", "width", "scheme"), [(26, PHONE, "dark"), (26, LAPTOP, "light")])
def test_the_page_is_drawn_and_fits(window: Window, methods: int, width: int, scheme: str) -> None:
    window.open_text(render_methods([comparison(methods), comparison(3, "other")]), width, scheme=scheme)
    assert window.draw_all() == ["m1-methods", "m2-methods"]
    assert window.value("document.documentElement.scrollWidth") <= width
    assert window.errors() == []
    assert window.requests() <= {"file", "data", "blob", "about"}


def test_the_key_hides_and_shows_lines(window: Window) -> None:
    window.open_text(render_methods([comparison(3)]))
    window.draw("m1-methods")
    whole = window.value(SHOWN)
    press(window, "[data-line=random]")
    window.wait(f"{SHOWN} === {whole - 2}")  # the line and its area
    assert window.value("document.querySelector('[data-line=random]').ariaPressed") == "false"
    press(window, "[data-lines=none]")
    window.wait(f"{SHOWN} === 0")
    press(window, "[data-line=method-1]")
    window.wait(f"{SHOWN} === 1")
    press(window, "[data-lines=all]")
    window.wait(f"{SHOWN} === {whole}")
    assert window.errors() == []


def test_views_and_hover(window: Window) -> None:
    window.open_text(render_methods([comparison(1)]))
    window.draw("m1-methods")
    line = "document.getElementById('m1-methods').data.find(line => line.name === 'method-0' && line.text)"
    assert window.value(f"{line}.x[0]") == pytest.approx(2.02)
    buttons = window.chrome.find_elements("css selector", "#m1-methods-views button")
    next(button for button in buttons if button.text == "whole model").click()
    window.wait(f"Math.abs({line}.x[0] - 1.51) < 1e-6")
    point = window.chrome.find_elements("css selector", "#m1-methods .scatterlayer .point")[-1]
    ActionChains(window.chrome).move_to_element(point).perform()
    window.wait("document.querySelector('#m1-methods .hoverlayer').textContent.includes('kept')")
    assert "layer 2: keep" in window.value("document.querySelector('#m1-methods .hoverlayer').textContent")


def test_hostile_text_does_nothing(window: Window) -> None:
    attack = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    window.open_text(render_methods([comparison(1, text=attack)]))
    window.draw("m1-methods")
    assert "owned" in window.value("document.querySelector('h1').textContent")
    assert window.chrome.title != "owned"
    assert window.value("document.querySelectorAll('body img').length") == 0
    assert window.errors() == []


def press(window: Window, selector: str) -> None:
    window.run("arguments[0].click()", window.chrome.find_element("css selector", selector))
