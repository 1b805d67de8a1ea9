"""Draws the README's picture from the demo's profile, with headless Chromium.

make picture        # after `make demo`
"""

import subprocess
import tempfile
from pathlib import Path

from halfv_core import Profile
from probe.report import entropy_figure

PROFILE = Path("runs/demo/profile.json")
PICTURE = Path("docs/entropy-curves.png")
WIDTH, HEIGHT = 1100, 740
BROWSER = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
QUIET = ["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"]


def main() -> None:
    """One figure on white, as a PNG."""
    figure = entropy_figure(Profile.load(PROFILE))
    figure.update_layout(paper_bgcolor="white", plot_bgcolor="white", width=WIDTH)
    PICTURE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "figure.html"
        figure.write_html(page, include_plotlyjs=True, config={"displayModeBar": False})
        options = [f"--user-data-dir={folder}/browser", f"--window-size={WIDTH + 16},{HEIGHT}"]
        shot = [f"--screenshot={PICTURE.absolute()}", "--virtual-time-budget=5000", page.as_uri()]
        subprocess.run([*BROWSER, *QUIET, *options, *shot], check=True, capture_output=True)
    print(PICTURE)


if __name__ == "__main__":
    main()
