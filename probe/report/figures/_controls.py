"""Buttons inside a chart that work in a notebook too: a page may build its own from `layout.updatemenus`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import plotly.graph_objects as go


class Change(NamedTuple):
    """What a button does, as `Plotly.update` takes it: a list of one value for each trace, and layout settings."""

    traces: dict[str, Any]
    layout: dict[str, Any]


def add_buttons(
    figure: go.Figure, choices: Mapping[str, Change], *, active: str, count: int, right: bool = False, rise: int = 8
) -> None:
    """A row of buttons above the plot, at its left or right end.

    Args:
        choices: label -> what it does to the first `count` traces.
        rise: pixels between plot and buttons.
    """
    which = list(range(count))
    figure.layout.updatemenus += (
        go.layout.Updatemenu(
            type="buttons",
            direction="right",
            buttons=[{"label": label, "method": "update", "args": [*do, which]} for label, do in choices.items()],
            active=list(choices).index(active),
            x=1 if right else 0,
            xanchor="right" if right else "left",
            y=1,
            yanchor="bottom",
            pad={"b": rise},
            # plotly fills the active button with near-white whatever the page's colours are.
            bgcolor="#C9CFD6",
            bordercolor="#8A9199",
            font={"color": "#1B1F24", "size": 12},
        ),
    )
