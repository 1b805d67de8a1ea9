"""The figure of one example: its images with kept and dropped visual tokens, or with the attention they receive."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from probe.calibration.observations import Attention, Example, Selection
from probe.common.region import Region

ANCHOR, OTHER, DROPPED = "anchor", "kept", "dropped"
OUTLINES = {
    ANCHOR: {"color": "#D55E00", "width": 3, "dash": "solid"},
    OTHER: {"color": "#56B4E9", "width": 2, "dash": "dot"},
}
"""Colours follow Okabe and Ito; the dash repeats the distinction."""
DROPPED_COLOR = "rgba(120,120,120,.78)"
"""Grey, which is visible on white pages and on night scenes alike."""
ATTENTION_COLORS = [[0.0, "rgba(20,20,20,.62)"], [0.5, "rgba(230,159,0,.5)"], [1.0, "rgba(255,240,60,.65)"]]
"""Colour scale of attention, from dark for none to light for the most."""
INSET = 0.08
"""Distance of an outline from the edge of its box, as a share of the box, so that neighbours do not overlap."""
PANEL_HEIGHT, TOP, BOTTOM = {1: 360, 2: 280}, 138, 56
"""Pixels; panels are lower if there are two side by side."""
PANEL_GAP = 0.12
"""Vertical distance between panels, as a share of a panel's height."""

Cells = NDArray[np.float64]


class Panel(NamedTuple):
    """A grid of non-overlapping tokens on one picture; a whole image and its tiles are two panels."""

    picture: int
    """Index into `Example.pictures`."""
    tokens: list[int]
    """Indices of the visual tokens."""
    boxes: Cells
    """(tokens, 4): left, top, right, bottom, as shares of the picture's width and height."""

    @property
    def edges(self) -> tuple[Cells, Cells]:
        """The edges of the columns and of the rows, including those of the picture."""
        return tuple(np.unique([0.0, 1.0, *self.boxes[:, axis::2].round(3).ravel()]) for axis in (0, 1))  # type: ignore[return-value]

    def as_grid(self, values: Sequence[Any], missing: Any) -> list[list[Any]]:
        """Arrange one value per token as rows of the grid, with `missing` where there is no token."""
        columns, rows = self.edges
        table = [[missing] * (len(columns) - 1) for _ in range(len(rows) - 1)]
        centres = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2
        for value, column, row in zip(
            values, np.searchsorted(columns, centres[:, 0]), np.searchsorted(rows, centres[:, 1]), strict=True
        ):
            table[row - 1][column - 1] = value
        return table


def panels_of(regions: Sequence[Region | None]) -> list[Panel]:
    """Split the tokens into runs that lie on one picture and do not overlap, in order."""
    panels: list[Panel] = []
    for token, region in enumerate(regions):
        if region is None:
            continue
        picture, box = region.image, np.array(region[1:])
        if not panels or panels[-1].picture != picture or _overlaps(panels[-1].boxes, box):
            panels.append(Panel(picture, [], np.empty((0, 4))))
        last = panels.pop()
        panels.append(Panel(picture, [*last.tokens, token], np.vstack([last.boxes, box])))
    return panels


def _overlaps(boxes: Cells, box: Cells) -> bool:
    shared = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])  # (tokens, 2)
    return bool((shared > 2e-4).all(axis=1).any())


def example_figure(example: Example) -> go.Figure:
    """The pictures with a menu of views: the tokens kept by each pruning, and the last prompt token's attention."""
    panels = panels_of(example.regions)
    across = min(2, max(1, len(panels)))
    down = max(1, -(-len(panels) // across))
    figure = make_subplots(down, across, horizontal_spacing=0.03, vertical_spacing=PANEL_GAP / down)
    views = [
        *((_kept_labels(example, selection), _kept_traces(example, selection)) for selection in example.selections),
        *((_attention_labels(example, attention), _attention_traces(attention)) for attention in example.attentions),
    ]
    shown: list[int] = []
    for number, (_, draw) in enumerate(views):
        for index, panel in enumerate(panels):
            row, column = divmod(index, across)
            for trace in draw(panel, index == 0):
                trace.visible = number == 0
                figure.add_trace(trace, row=row + 1, col=column + 1)
                shown.append(number)
    for index, panel in enumerate(panels):
        _lay_out_panel(figure, example, panel, *divmod(index, across), titled=len(panels) > 1)
    buttons = [
        {
            "label": label,
            "method": "update",
            "args": [{"visible": [view == number for view in shown]}, {"title.text": title}],
        }
        for number, ((label, title), _) in enumerate(views)
    ]
    figure.update_layout(
        meta={"aspect": _aspect(example, panels) * down / across * (1 + PANEL_GAP)},  # for pages that know their width
        height=TOP + BOTTOM + PANEL_HEIGHT[across] * down,
        margin={"l": 8, "r": 8, "t": TOP, "b": BOTTOM},
        title={"text": views[0][0][1] if views else "", "font": {"size": 13}, "x": 0, "xref": "paper",
               "y": 1, "yref": "container", "yanchor": "top", "pad": {"t": 70}},
        legend={"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom", "itemclick": False,
                "itemdoubleclick": False},
        plot_bgcolor="rgba(0,0,0,0)",
        paper_bgcolor="rgba(0,0,0,0)",
    )  # fmt: skip
    if len(views) > 1:
        menu = {"buttons": buttons, "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "pad": {"b": 84}}
        figure.update_layout(updatemenus=[menu])
    return figure


def _aspect(example: Example, panels: Sequence[Panel]) -> float:
    """The largest ratio of height to width among the pictures."""
    pictures = [example.pictures[panel.picture] for panel in panels]
    return max((picture.height / picture.width for picture in pictures), default=1.0)


ViewLabels = tuple[str, str]
"""The texts of a view: its menu entry and its title."""
Draw = Callable[[Panel, bool], Iterable[Any]]
"""Makes the traces of a view for one panel; the bool says whether it is the first panel, which adds the legend."""


def _stage(example: Example, layer: int) -> str:
    """The stage of a layer; Stage III starts at the later of the two layers whose attention was recorded."""
    last = example.attentions[-1].layer if len(example.attentions) > 1 else None
    return "in Stage III" if last is not None and layer >= last else "after Stage II begins"


def _kept_labels(example: Example, selection: Selection) -> ViewLabels:
    anchors = set(selection.anchors)
    others = set(selection.kept) - anchors
    title = f"{len(selection.kept)} of {len(example.regions)} visual tokens stay from layer {selection.layer} on:"
    title += f"<br>{len(anchors)} anchors and {len(others)} others"
    nowhere = [sum(example.regions[token] is None for token in tokens) for tokens in (anchors, others)]
    if any(nowhere):
        title += f"<br>not drawn, at no place: {nowhere[0]} anchors, {nowhere[1]} others"
    return f"Kept {_stage(example, selection.layer)}", title


def _attention_labels(example: Example, attention: Attention) -> ViewLabels:
    where = "in Stage III" if attention is not example.attentions[0] else "before Stage II"
    title = f"{sum(attention.shares):.1%} of the last token's attention at layer {attention.layer}"
    return f"Attention {where}", f"{title}<br>goes to visual tokens, in the full model"


def _kept_traces(example: Example, selection: Selection) -> Draw:
    roles = dict.fromkeys(selection.kept, OTHER) | dict.fromkeys(selection.anchors, ANCHOR)
    attended = {token: "" for token in range(len(example.regions))}
    for attention in example.attentions:
        for token, share in enumerate(attention.shares):
            attended[token] += f"<br>{share:.2%} of the attention at layer {attention.layer}"

    def draw(panel: Panel, first: bool) -> Iterable[Any]:
        texts = [f"token {token}: {roles.get(token, DROPPED)}{attended[token]}" for token in panel.tokens]
        veil = [0 if token in roles else 1 for token in panel.tokens]
        yield _heat(panel, veil, 1, texts, [[0, "rgba(0,0,0,0)"], [1, DROPPED_COLOR]], (0, 1))
        names = {ANCHOR: "anchor, chosen by attention", OTHER: f"kept by {selection.selector}"}
        for role, line in OUTLINES.items():
            boxes = [box for token, box in zip(panel.tokens, panel.boxes, strict=True) if roles.get(token) == role]
            yield _outlines(boxes, names[role], line, legend=first and role in roles.values())
        if first:
            marker = {"symbol": "square", "size": 12, "color": DROPPED_COLOR}
            yield go.Scatter(x=[None], y=[None], mode="markers", marker=marker, name=DROPPED, hoverinfo="skip")

    return draw


def _attention_traces(attention: Attention) -> Draw:
    top = max(attention.shares, default=0.0) or 1.0
    ticks = [0.0, top / 4, top]

    def draw(panel: Panel, first: bool) -> Iterable[Any]:
        shares = [attention.shares[token] for token in panel.tokens]
        texts = [
            f"token {token}: {share:.2%} of the attention" for token, share in zip(panel.tokens, shares, strict=True)
        ]
        bar = {"orientation": "h", "y": 0, "yref": "container", "yanchor": "bottom", "thickness": 10, "len": 0.9,
               "tickvals": np.sqrt(ticks), "ticktext": [f"{tick:.2%}" for tick in ticks]}  # fmt: skip
        # Square roots, since otherwise one token with most of the attention would leave all others dark.
        heat = _heat(panel, np.sqrt(shares).tolist(), None, texts, ATTENTION_COLORS, (0, top**0.5))
        yield heat.update(showscale=first, colorbar=bar)

    return draw


def _heat(
    panel: Panel,
    values: Sequence[float],
    missing: float | None,
    texts: Sequence[str],
    colors: Any,
    span: tuple[float, float],
) -> go.Heatmap:
    columns, rows = panel.edges
    return go.Heatmap(
        x=columns, y=rows, z=panel.as_grid(values, missing), text=panel.as_grid(texts, "no token looks here"),
        hovertemplate="%{text}<extra></extra>", hoverongaps=False, colorscale=colors, zmin=span[0], zmax=span[1],
        showscale=False,
    )  # fmt: skip


def _outlines(boxes: Iterable[Cells], name: str, line: dict[str, Any], legend: bool) -> go.Scatter:
    xs: list[float | None] = []
    ys: list[float | None] = []
    for left, top, right, bottom in boxes:
        dx, dy = INSET * (right - left), INSET * (bottom - top)
        xs += [left + dx, right - dx, right - dx, left + dx, left + dx, None]
        ys += [top + dy, top + dy, bottom - dy, bottom - dy, top + dy, None]
    return go.Scatter(
        x=xs or [None], y=ys or [None], mode="lines", line=line, name=name, hoverinfo="skip", showlegend=legend
    )


def _lay_out_panel(figure: go.Figure, example: Example, panel: Panel, row: int, column: int, titled: bool) -> None:
    picture = example.pictures[panel.picture]
    figure.update_xaxes(range=[0, 1], visible=False, fixedrange=True, constrain="domain", row=row + 1, col=column + 1)
    axis = next(figure.select_xaxes(row=row + 1, col=column + 1)).plotly_name.replace("axis", "")
    figure.update_yaxes(
        range=[1, 0], visible=False, fixedrange=True, constrain="domain", constraintoward="top",
        scaleanchor=axis, scaleratio=picture.height / picture.width, row=row + 1, col=column + 1,
    )  # fmt: skip
    figure.add_layout_image(
        source=f"data:image/webp;base64,{picture.webp}", x=0, y=0, sizex=1, sizey=1, sizing="stretch", layer="below",
        row=row + 1, col=column + 1,
    )  # fmt: skip
    if titled:
        name = picture.label or (f"image {panel.picture + 1}" if len(example.pictures) > 1 else "")
        which = f"{name}: " if name else ""
        figure.add_annotation(
            text=f"{which}{len(panel.tokens)} tokens", x=0, y=0, yshift=2, xanchor="left", yanchor="bottom",
            showarrow=False, font={"size": 11}, row=row + 1, col=column + 1,
        )  # fmt: skip
