"""Draws: seeded, distinct, balanced over families, skipping images that do not open, and split without loss."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from halfv_core.errors import DataError
from probe.data.draw import draw, draw_readable, hold_out
from probe.data.samples import Sample


def made_up(sizes: dict[str, int], image: Path = Path("gone.png")) -> list[Sample]:
    """Samples in families of these sizes."""
    return [
        Sample(id=f"{family}{index}", images=(image,), question="q", family=family)
        for family, size in sizes.items()
        for index in range(size)
    ]


@given(
    sizes=st.dictionaries(st.sampled_from("abc"), st.integers(1, 9), min_size=1),
    count=st.integers(1, 30),
    seed=st.integers(0, 5),
)
def test_draw_is_seeded_distinct_and_even(sizes: dict[str, int], count: int, seed: int) -> None:
    samples = made_up(sizes)
    drawn = draw(samples, count, seed)
    assert drawn == draw(samples, count, seed)
    assert len({sample.id for sample in drawn}) == len(drawn) == min(count, len(samples))
    taken = {family: sum(sample.family == family for sample in drawn) for family in sizes}
    open_families = [taken[family] for family in sizes if taken[family] < sizes[family]]
    assert max(open_families, default=0) - min(open_families, default=0) <= 1


def test_other_seeds_draw_other_samples() -> None:
    samples = made_up({"a": 50})
    assert len({tuple(sample.id for sample in draw(samples, 5, seed)) for seed in range(10)}) == 10


@pytest.mark.parametrize("count", [0, -1])
def test_a_draw_of_nothing_is_refused(count: int) -> None:
    for how in (draw, draw_readable):
        with pytest.raises(DataError, match=f"at least one sample is needed; got {count}"):
            how(made_up({"a": 2}), count, 0)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """An image that opens."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_readable_samples_are_drawn_as_any(picture: Path) -> None:
    samples = made_up({"a": 9, "b": 4}, picture)
    assert draw_readable(samples, 7, 3) == (draw(samples, 7, 3), [])
    assert len(draw_readable(samples, 100, 3)[0]) == 13


def test_samples_whose_images_do_not_open_are_passed_over_and_named(picture: Path) -> None:
    good = made_up({"a": 6}, picture)
    samples = [*good, *made_up({"bad": 2})]
    drawn, rejected = draw_readable(samples, 6, 0)
    assert sorted(sample.id for sample in drawn) == sorted(sample.id for sample in good)
    assert {str(row) for row in rejected} == {f"bad{index}: no image at gone.png" for index in range(2)}


def test_a_draw_is_given_up_where_most_images_do_not_open(picture: Path) -> None:
    with pytest.raises(DataError, match=r"3 of 5 samples drawn cannot be used; got bad\d.*; mend their images"):
        draw_readable([*made_up({"a": 2}, picture), *made_up({"bad": 3})], 10, 0)


def test_a_draw_is_given_up_as_soon_as_that_is_certain() -> None:
    tried: list[str] = []

    class Watched(Sample):
        def open_images(self) -> list[Image.Image]:
            tried.append(self.id)
            return super().open_images()

    samples = [Watched(**dict(sample)) for sample in made_up({"a": 1000})]
    with pytest.raises(DataError, match="5 of 5 samples drawn cannot be used; .* and 2 more"):
        draw_readable(samples, 5, 0)
    assert len(tried) == 5


@given(count=st.integers(1, 120), share=st.floats(0, 0.9))
def test_hold_out_splits_without_loss(count: int, share: float) -> None:
    samples = made_up({"a": count})
    measured, held_out = hold_out(samples, share)
    assert len(held_out) == int(count * share)
    assert sorted(sample.id for sample in measured + held_out) == sorted(sample.id for sample in samples)


def test_held_out_samples_come_from_every_family() -> None:
    drawn = draw(made_up({"a": 50, "b": 20, "c": 20, "d": 20, "e": 20}), 100, 0)
    families = [sample.family for sample in hold_out(drawn, 0.2)[1]]
    assert {family: families.count(family) for family in families} == dict.fromkeys("abcde", 4)


@pytest.mark.parametrize("share", [-0.1, 0.91, float("nan")])
def test_shares_out_of_range_are_refused(share: float) -> None:
    with pytest.raises(DataError, match="the held-out share is out of range"):
        hold_out(made_up({"a": 3}), share)
