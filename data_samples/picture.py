"""Draws the READMEs' pictures from the shipped profiles, with headless Chromium.

make picture        # after `make results`
"""

import subprocess
import tempfile
from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from data_samples.results import PROFILES
from halfv_core import Profile
from halfv_core.models import bundled_models
from probe.report import entropy_figure
from probe.report.figures import STYLES

DOCS = Path("docs")
WIDTH = 1100
BROWSER = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
QUIET = ["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"]


def main() -> None:
    profiles = {model: Profile.load(PROFILES / f"{model}.json") for model in bundled_models()}
    shoot(entropy_figure(profiles["tiny-qwen2.5-vl"]), DOCS / "entropy-curves.png", 740)
    shoot(side_by_side(profiles), DOCS / "models.png", 560)


def side_by_side(profiles: dict[str, Profile]) -> go.Figure:
    """A column for each model: visual and text entropy with the stage boundaries, and below them the KL curve."""
    count = len(profiles)
    figure = make_subplots(rows=2, cols=count, shared_xaxes=True, vertical_spacing=0.08, column_titles=[*profiles])
    for column, profile in enumerate(profiles.values(), start=1):
        for row, name in ((1, "visual"), (1, "text"), (2, "KL")):
            mean = getattr(profile.curves, name.lower()).mean
            figure.add_trace(_line(name, mean, first=column == 1), row=row, col=column)
        starts = {"II": profile.stages.aggregation_start, "III": profile.stages.saturation_start}
        for stage, start in starts.items():
            if start is not None:
                figure.add_vline(start - 0.5, line={"dash": "dot", "width": 1, "color": "#666"}, col=column)
                label = {"x": start - 0.5, "y": 1, "yanchor": "top", "xanchor": "left", "text": f" {stage}"}
                figure.add_annotation(**label, showarrow=False, row=1, col=column)
                figure.layout.annotations[-1].yref = f"y{column if column > 1 else ''} domain"
        figure.update_xaxes(title="layer", row=2, col=column)
    figure.update_yaxes(title="entropy, nats", row=1, col=1)
    figure.update_yaxes(title="KL, nats", row=2, col=1)
    figure.update_yaxes(type="log", exponentformat="power", dtick=1, row=2)
    figure.update_layout(template="simple_white", height=540, margin={"t": 40, "b": 40, "l": 60, "r": 20})
    figure.update_layout(legend={"orientation": "h", "y": -0.14})
    return figure


def _line(name: str, mean: tuple[float, ...], first: bool) -> go.Scatter:
    style = STYLES[name]
    return go.Scatter(
        name=name,
        x=list(range(len(mean))),
        y=[value if name != "KL" or value > 0 else None for value in mean],
        mode="lines+markers",
        line={"color": style.color, "dash": style.dash, "width": 2},
        marker={"symbol": style.symbol, "size": 6},
        legendgroup=name,
        showlegend=first,
    )


def shoot(figure: go.Figure, path: Path, height: int) -> None:
    """A figure on white, as a PNG."""
    figure.update_layout(paper_bgcolor="white", plot_bgcolor="white", width=WIDTH)
    path.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "figure.html"
        figure.write_html(page, include_plotlyjs=True, config={"displayModeBar": False})
        options = [f"--user-data-dir={folder}/browser", f"--window-size={WIDTH + 16},{height}"]
        shot = [f"--screenshot={path.absolute()}", "--virtual-time-budget=5000", page.as_uri()]
        subprocess.run([*BROWSER, *QUIET, *options, *shot], check=True, capture_output=True)
    print(path)


if __name__ == "__main__":
    main()
