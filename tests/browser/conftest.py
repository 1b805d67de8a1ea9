"""One headless chromium for all browser tests, and what they ask of it.

Skipped where there is no chromium, except in CI, which installs it.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from tests.browser.window import Window

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-unsafe-swiftshader",
)


@pytest.fixture(scope="session")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
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
    yield Window(chrome, tmp_path_factory.mktemp("pages"))
    chrome.quit()


@pytest.fixture
def downloads(window: Window, tmp_path: Path) -> Path:
    """Where this test's downloads land."""
    setting = {"behavior": "allow", "downloadPath": str(tmp_path)}
    window.chrome.execute_cdp_cmd("Browser.setDownloadBehavior", setting)
    return tmp_path
