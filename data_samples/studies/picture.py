"""The documents' pictures: parts of the report on the shipped profiles, as headless Chromium shows them.

    make picture        # after `make results`

Needs Chromium and chromedriver (Debian: chromium, chromium-driver).
"""

import shutil
import tempfile
import time
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from data_samples.studies.results import PROFILES
from halfv_core import Profile
from halfv_core.models import bundled_models
from probe.calibration.observations import Observations
from probe.report import Subject, write_report

DOCS = Path("docs")
FLAGS = ("--headless", "--no-sandbox", "--hide-scrollbars", "--force-device-scale-factor=1.5")
WIDTH = 1100


def main() -> None:
    paths = [PROFILES / f"{model}.json" for model in bundled_models()]
    subjects = [Subject(Profile.load(path), Observations.of(path)) for path in paths]
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        options, driver = ChromeOptions(), Service(shutil.which("chromedriver"))
        options.binary_location = str(shutil.which("chromium"))
        for flag in FLAGS:
            options.add_argument(flag)
        with Chrome(options=options, service=driver) as browser:
            write_report([subject for subject in subjects if "qwen" in subject.profile.provenance.model_id], page)
            shoot(browser, page, "body", DOCS / "report.png", 1720)
            shoot(browser, page, "article.card", DOCS / "example.png", 1000)
            write_report(subjects, page)
            shoot(browser, page, "section:has(#all-entropy)", DOCS / "models.png", 1000)


def shoot(browser: Chrome, page: Path, selector: str, path: Path, height: int) -> None:
    """The first element of the page that fits the selector, or as much of it as the window holds."""
    browser.set_window_size(WIDTH, height)
    browser.get(page.absolute().as_uri())
    part = browser.find_element(By.CSS_SELECTOR, selector)
    browser.execute_script("arguments[0].scrollIntoView()", part)
    time.sleep(3)  # charts are drawn as they come near
    if selector == "body":
        browser.save_screenshot(str(path))
    else:
        part.screenshot(str(path))
    print(path)


if __name__ == "__main__":
    main()
