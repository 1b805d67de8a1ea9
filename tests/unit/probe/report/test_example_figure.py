"""The figure of one example: panels of tokens that do not overlap, and a menu of views."""

import json

import pytest

from probe.calibration.observations import Attention, Example, Picture, Selection
from probe.capture.regions.base import View, grid
from probe.common.region import Region
from probe.report.figures.example import example_figure, panels_of

PIXEL = "UklGRiQAAABXRUJQVlA4IBgAAAAwAQCdASoBAAEAAgA0JaQAA3AA/vuUAAA="


def example(regions: list[Region | None], pictures: int = 1, **given: object) -> Example:
    fields: dict[str, object] = {
        "id": "a",
        "question": "<script>alert(1)</script>",
        "references": (),
        "full": "<b>yes</b>",
        "accelerated": "no",
        "pictures": tuple(Picture(width=80, height=40, webp=PIXEL) for _ in range(pictures)),
        "regions": tuple(regions),
        "selections": (),
        "attentions": (),
    }
    return Example.model_validate(fields | given)


def tiled() -> list[Region | None]:
    """A whole image of 2 x 2 tokens, then two tiles of 2 x 2, each followed by a token without a region."""
    tiles = [[*grid(0, 2, 2, view), None] for view in (View(0, 0, 0.5, 1), View(0.5, 0, 1, 1))]
    return [*grid(0, 2, 2), *(token for tile in tiles for token in tile)]


def views(**given: object) -> list[dict[str, object]]:
    figure = example_figure(example(tiled(), **given)).to_dict()
    return figure["layout"]["updatemenus"][0]["buttons"] if "updatemenus" in figure["layout"] else []


KEPT = {
    "selections": (
        Selection(layer=2, selector="anchor_coverage", kept=(0, 3, 4, 8), anchors=(3, 8)),
        Selection(layer=5, selector="attention", kept=(3,), anchors=(3,)),
    ),
    "attentions": (Attention(layer=1, shares=(0.1,) * 14), Attention(layer=5, shares=(0.01,) * 14)),
}


def test_overlapping_grids_are_panels_of_their_own() -> None:
    whole, tiles = panels_of(example(tiled()).regions)
    assert whole.tokens == [0, 1, 2, 3]
    assert tiles.tokens == [4, 5, 6, 7, 9, 10, 11, 12]
    assert whole.as_grid("abcd", None) == [["a", "b"], ["c", "d"]]
    assert tiles.as_grid("abcdefgh", None) == [["a", "b", "e", "f"], ["c", "d", "g", "h"]]


def test_pictures_are_panels_of_their_own() -> None:
    found = panels_of(example([*grid(0, 2, 2), *grid(1, 1, 3)], pictures=2).regions)
    assert [(panel.picture, len(panel.tokens)) for panel in found] == [(0, 4), (1, 3)]


def test_frames_are_named() -> None:
    pictures = tuple(Picture(width=80, height=40, webp=PIXEL, label=label) for label in ("", "frame 3 of 8"))
    figure = example_figure(
        example([*grid(0, 2, 2), *grid(1, 1, 3)], pictures=2).model_copy(update={"pictures": pictures})
    )
    assert [one.text for one in figure.layout.annotations] == ["image 1: 4 tokens", "frame 3 of 8: 3 tokens"]


def test_what_no_token_looks_at_is_told_apart() -> None:
    (panel,) = panels_of(example(list(grid(0, 1, 2, View(0.25, 0, 0.75, 1)))).regions)
    assert panel.as_grid("ab", "-") == [["-", "a", "b", "-"]]


def test_a_menu_of_views() -> None:
    buttons = views(**KEPT)
    assert [button["label"] for button in buttons] == [
        "Kept after Stage II begins",
        "Kept in Stage III",
        "Attention before Stage II",
        "Attention in Stage III",
    ]
    shown = [button["args"][0]["visible"] for button in buttons]  # type: ignore[index]
    assert all(sum(column) == 1 for column in zip(*shown, strict=True))
    assert "not drawn, at no place: 1 anchors, 0 others" in buttons[0]["args"][1]["title.text"]  # type: ignore[index]


def test_hovering_says_number_role_and_attention() -> None:
    veil = example_figure(example(tiled(), **KEPT)).data[0]
    assert (
        veil.text[1][1] == "token 3: anchor<br>10.00% of the attention at layer 1<br>1.00% of the attention at layer 5"
    )
    assert veil.text[0][0].startswith("token 0: kept<br>")
    assert veil.text[0][1].startswith("token 1: dropped<br>")


@pytest.mark.parametrize("left_out", ["selections", "attentions"])
def test_one_kind_of_view_will_do(left_out: str) -> None:
    assert len(views(**KEPT | {left_out: ()})) == 2


def test_without_views_there_is_the_picture() -> None:
    figure = example_figure(example(tiled()))
    assert len(figure.layout.images) == 2
    assert not figure.layout.updatemenus


def test_no_text_of_the_data_is_in_it() -> None:
    written = example_figure(example(tiled(), **KEPT)).to_json()
    assert "alert" not in written
    assert "yes" not in json.loads(written)["layout"]["title"]["text"]
