"""Buttons inside a chart, which also work in a notebook; the page builds its own from `layout.updatemenus`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import plotly.graph_objects as go


class Change(NamedTuple):
    """The changes that a button makes, as arguments of `Plotly.update`: one value per trace, and layout settings."""

    traces: dict[str, Any]
    layout: dict[str, Any]


def add_buttons(
    figure: go.Figure, choices: Mapping[str, Change], *, active: str, count: int, right: bool = False, rise: int = 8
) -> None:
    """Add a row of buttons above the plot, at its left or right end.

    Args:
        choices: label -> change to the first `count` traces.
        active: label of the button that is pressed at first.
        rise: distance between plot and buttons, pixels.
    """
    which = list(range(count))
    figure.layout.updatemenus += (
        go.layout.Updatemenu(
            type="buttons",
            direction="right",
            buttons=[
                {"label": label, "method": "update", "args": [*change, which]} for label, change in choices.items()
            ],
            active=list(choices).index(active),
            x=1 if right else 0,
            xanchor="right" if right else "left",
            y=1,
            yanchor="bottom",
            pad={"b": rise},
            # plotly fills the active button with near-white on any page, so the text has to be dark.
            bgcolor="#C9CFD6",
            bordercolor="#8A9199",
            font={"color": "#1B1F24", "size": 12},
        ),
    )
