"""A browser window with a report in it."""

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome

from probe.report import Subject, render

PHONE, LAPTOP = 390, 1280

DRAWN = """
const box = arguments[0];
const marks = box.querySelectorAll(".main-svg :is(.point, .js-line, .js-fill, .hm image, .slice, .bars path)").length;
const lost = box.querySelector("canvas")?.getContext("webgl")?.isContextLost();
return "drawn" in box.dataset && (marks > 0 || lost === false);
"""


class Window:
    """Opens reports, and tells what came of them."""

    def __init__(self, chrome: Chrome, folder: Path) -> None:
        self.chrome = chrome
        self._folder = folder
        self._written: dict[str, Path] = {}

    def open(
        self, subjects: Sequence[Subject], width: int = LAPTOP, *, scheme: str = "light", anchor: str = ""
    ) -> Path:
        """Load the page anew; the same subjects are rendered once."""
        path = self._page(subjects)
        self._show(path, width, scheme, anchor)
        return path

    def open_text(self, text: str, width: int = LAPTOP, *, scheme: str = "light") -> None:
        """Load a page that is given as text."""
        path = self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.html"
        path.write_text(text, encoding="utf-8")
        self._show(path, width, scheme)

    def _show(self, path: Path, width: int, scheme: str, anchor: str = "") -> None:
        for log in ("browser", "performance"):
            self.chrome.get_log(log)
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == PHONE}
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features, "media": "screen"})
        self.chrome.get("about:blank")
        self.chrome.get(path.as_uri() + anchor)

    def on_paper(self) -> None:
        """As if printed."""
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns; wrap it in a function body."""
        return self.chrome.execute_script(script, *arguments)

    def value(self, expression: str) -> Any:
        """Of one expression."""
        return self.run(f"return {expression}")

    def wait(self, condition: str) -> None:
        """Until an expression is true; what is not there yet is not true."""
        deadline = time.monotonic() + 20
        while not self.run(f"try {{ return Boolean({condition}) }} catch {{ return false }}"):
            assert time.monotonic() < deadline, f"never true: {condition}"
            time.sleep(0.03)

    def charts(self) -> list[str]:
        """Their ids, in the order of the page."""
        return list(self.value("[...document.querySelectorAll('.chart')].map(box => box.id)"))

    def draw_all(self) -> list[str]:
        """Come near each chart, and wait until it has something in it."""
        for id in self.charts():
            self.draw(id)
        return self.charts()

    def draw(self, id: str) -> None:
        """Come near one chart."""
        box = self.chrome.find_element("id", id)
        self.run("arguments[0].scrollIntoView({block: 'center'})", box)
        deadline = time.monotonic() + 20
        while not self.run(DRAWN, box):
            assert time.monotonic() < deadline, f"{id} is empty"
            time.sleep(0.03)

    def errors(self) -> list[str]:
        """What the console complains of; notes of the graphics driver are no complaint."""
        return [entry["message"] for entry in self.chrome.get_log("browser") if entry["level"] == "SEVERE"]

    def requests(self) -> set[str]:
        """Schemes of all addresses that the page asked for; chromium's own pages, as of a new tab, ask for others."""
        messages = [json.loads(entry["message"])["message"] for entry in self.chrome.get_log("performance")]
        sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
        own = [parameters for parameters in sent if not parameters["documentURL"].startswith("chrome:")]
        return {parameters["request"]["url"].split(":")[0] for parameters in own}

    def _page(self, subjects: Sequence[Subject]) -> Path:
        key = hashlib.sha256(
            repr([subject.profile.model_dump_json() + str(subject[1]) for subject in subjects]).encode()
        )
        name = key.hexdigest()[:16]
        if name not in self._written:
            self._written[name] = self._folder / f"{name}.html"
            self._written[name].write_text(render(subjects), encoding="utf-8")
        return self._written[name]
