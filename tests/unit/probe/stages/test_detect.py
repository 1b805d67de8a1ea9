"""Stage detection on random curves that follow the published descriptions of three models, and on awkward curves.

The curves vary where the descriptions leave room: the value at the first point, corners or smooth bends, how the fall
and the rise bend, how the text entropy collapses, and noise. The paper's settings must be met within 1 layer (Stage II)
and 2 layers (Stage III).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator
from typer import Typer
from typer.testing import CliRunner

from cli.stages import stages
from halfv_core.errors import DataError
from probe.stages.curve_shapes import Array, knee, noise, unit, valley
from probe.stages.detect import detect_stages
from probe.stages.from_curves import saturation_type_from_kl, stages_of_curves

Point = tuple[float, float]


class Drawn(NamedTuple):
    visual: Array
    text: Array
    kl: Array


def corners(last: int, *points: Point) -> Array:
    """Straight lines through the points, at 0..last."""
    x, y = zip(*points, strict=True)
    return np.asarray(np.interp(np.arange(last + 1), x, y))


def bends(last: int, *points: Point) -> Array:
    """A smooth curve through the points, monotone between them."""
    x, y = zip(*points, strict=True)
    return np.asarray(PchipInterpolator(x, y)(np.arange(last + 1)))


def noisy(rng: np.random.Generator, curve: Array, share: float) -> Array:
    return curve + share * np.ptp(curve) * rng.standard_normal(len(curve))


def collapse(rng: np.random.Generator, layers: int, end: int) -> Array:
    """Text entropy that falls fast until layer `end`."""
    x = np.arange(layers + 1.0)
    return [
        corners(layers, (0, 4.0), (end, 2.2), (layers, rng.choice([2.0, 2.2, 2.5]))),
        corners(layers, (0, 4.0), (end, 2.4), (0.8 * layers, 1.9), (layers, 2.1)),
        corners(layers, (0, 3.6), (1, 4.0), (end, 2.2), (layers, 2.1)) if end > 2 else 2.2 + 1.8 * np.exp(-2 * x),
        2.1 + 1.9 * np.exp(-2.2 * x / end),
        np.where(x < end, 4.0 - 0.1 * x, 2.2 - 0.005 * x),
    ][rng.integers(5)]


def log_kl(rng: np.random.Generator, layers: int, *points: Point) -> Array:
    """KL through the points with 30 % noise, and 0 at the last layer."""
    x, y = zip(*points, strict=True)
    curve = np.exp(np.interp(np.arange(layers), x, np.log(y)) + 0.3 * rng.standard_normal(layers))
    curve[-1] = 0.0
    return curve


def kl_llava(rng: np.random.Generator, layers: int) -> Array:
    points = ((0, 2e-3), (1, 7e-3), (2, 2e-3), (0.35 * layers, 1.2e-3), (0.6 * layers, 9e-5), (layers, 2e-5))
    return log_kl(rng, layers, *points)


def kl_qwen(rng: np.random.Generator, layers: int) -> Array:
    return log_kl(rng, layers, (0, 13), (1, 11), (2, 0.14), (11, 0.02), (0.82 * layers, 6e-4), (layers - 1, 0.2))


def vicuna(rng: np.random.Generator, share: float) -> Drawn:
    """LLaVA-1.5-7B: 1.2 near 6 % of the depth, 1.03 at 40-47 %, 1.82 at the end."""
    line = (corners, bends)[rng.integers(2)]
    ends = [[(32, 1.82)], [(29, 2.05), (31, 1.95), (32, 1.82)], [(22, 1.2), (30, 1.8), (32, 1.82)]][rng.integers(3)]
    lowest = int(rng.integers(13, 16))
    visual = line(32, (0, rng.choice([2.05, 1.4, 0.9])), (1, 1.26), (2, 1.2), (3, 1.2), (lowest, 1.03), *ends)
    return Drawn(noisy(rng, visual, share), noisy(rng, collapse(rng, 32, 3), share), kl_llava(rng, 32))


def mistral(rng: np.random.Generator, share: float) -> Drawn:
    """LLaVA-NeXT-Mistral-7B: minimum at 44-50 %."""
    line = (corners, bends)[rng.integers(2)]
    ends = [[(32, 1.7)], [(29, 1.9), (32, 1.6)], [(22, 1.25), (32, 1.7)]][rng.integers(3)]
    visual = line(32, (0, rng.choice([2.2, 1.5])), (1, 1.6), (2, 1.55), (int(rng.integers(14, 17)), 1.1), *ends)
    return Drawn(noisy(rng, visual, share), noisy(rng, collapse(rng, 32, 2), share), kl_llava(rng, 32))


def qwen(rng: np.random.Generator, share: float) -> Drawn:
    """Qwen2.5-VL-7B: peak near layer 5, minimum at 19, jump at 20-21, drop at the last layer."""
    line = (corners, bends)[rng.integers(2)]
    falls = [[(12, 2.3)], [(8, 2.3), (12, 1.95)], [(10, 2.75), (15, 2.2)]][rng.integers(3)]
    start = [(0, rng.choice([2.6, 1.8])), (2, 2.35), (5, 2.9)]
    visual = line(28, *start, *falls, (19, 1.7), (20, 1.85), (21, 2.2), (27, 2.4), (28, 1.9))
    return Drawn(noisy(rng, visual, share), noisy(rng, collapse(rng, 28, 2), share), kl_qwen(rng, 28))


FAMILIES: dict[Callable[[np.random.Generator, float], Drawn], tuple[int, int]] = {
    vicuna: (3, 15),
    mistral: (2, 16),
    qwen: (2, 21),
}


@pytest.mark.parametrize(("share", "pass_rate"), [(0.0, 1.0), (0.01, 0.97), (0.02, 0.9), (0.03, 0.8)])
@pytest.mark.parametrize("family", FAMILIES)
def test_paper_settings_are_met(
    family: Callable[[np.random.Generator, float], Drawn], share: float, pass_rate: float
) -> None:
    """Noise is a share of the curve's range; the pass rate is over 100 draws and holds for both boundaries at once."""
    aggregation, saturation = FAMILIES[family]
    met = 0
    for seed in range(100):
        found = detect_stages(*family(np.random.default_rng(seed), share))
        late = found.saturation_start is not None and abs(found.saturation_start - saturation) <= 2
        met += late and abs(found.aggregation_start - aggregation) <= 1
    assert met >= 100 * pass_rate


@pytest.mark.parametrize("family", FAMILIES)
def test_without_kl_or_text_the_rest_decides_and_says_so(
    family: Callable[[np.random.Generator, float], Drawn],
) -> None:
    curves = family(np.random.default_rng(0), 0.01)
    complete, no_kl = detect_stages(*curves), detect_stages(curves.visual, curves.text)
    assert abs(no_kl.aggregation_start - FAMILIES[family][0]) <= 1
    assert "No KL curve was given." in no_kl.evidence["aggregation_start"]
    alone = detect_stages(curves.visual)
    assert "early peak" in alone.evidence["aggregation_start"]
    assert complete.saturation_start == no_kl.saturation_start == alone.saturation_start


def test_the_kl_curve_alone_places_stage_two_where_it_collapses() -> None:
    curves = qwen(np.random.default_rng(3), 0.0)
    found = detect_stages(curves.visual, kl=curves.kl)
    assert found.aggregation_start == 2
    assert "No text curve was given. The KL curve's collapse" in found.evidence["aggregation_start"]
    assert detect_stages(curves.visual).aggregation_start == 5  # the peak, which the paper's setting is not


TINY_QWEN = [1.93, 1.79, 1.43, 1.27, 1.20, 1.21, 1.20, 1.21, 1.21, 1.20, 1.22, 1.23, 1.24]
TINY_QWEN_TEXT = [2.39, 2.19, 2.02, 1.86, 1.81, 1.79, 1.73, 1.71, 1.69, 1.67, 1.71, 1.73, 1.57]
TINY_LLAVA = [1.97, 1.79, 1.38, 1.17, 1.01, 0.99, 0.93, 0.89, 0.89, 0.87, 0.84, 0.85, 0.82]


def test_a_measured_long_floor_is_saturated_from_its_beginning() -> None:
    found = detect_stages(TINY_QWEN, TINY_QWEN_TEXT)
    assert (found.aggregation_start, found.saturation_start) == (3, 4)
    assert found.evidence == {
        "aggregation_start": "The text entropy's collapse (2.39 to 1.86) ends at layer 3. No KL curve was given.",
        "saturation_start": "90% of the visual entropy's fall, 1.79 to 1.2 at layer 4, is over at layer 4 (1.2), "
        "and it stays on that floor until layer 11.",
    }


def test_a_measured_fall_that_slows_down_is_saturated_where_nine_tenths_are_over() -> None:
    found = detect_stages(TINY_LLAVA)
    assert found.saturation_start == 6
    assert (
        "90% of the visual entropy's fall, 1.79 to 0.84 at layer 10, is over at layer 6"
        in found.evidence["saturation_start"]
    )


LAYERS = np.arange(33.0)


@pytest.mark.parametrize(
    ("name", "visual", "start"),
    [
        ("long floor, then a rise", corners(32, (0, 2), (8, 1), (24, 1), (32, 1.5)), 8),
        ("floor, then a drop in the last three points", corners(32, (0, 2), (10, 1), (29, 1), (32, 0.5)), 10),
        (
            "turn, then a high end and a drop larger than the fall",
            corners(32, (0, 1.2), (14, 1), (27, 2), (32, 1.4)),
            15,
        ),
        ("two valleys, the later one deeper", corners(32, (0, 2), (8, 1.2), (14, 1.6), (20, 1), (32, 1.8)), 21),
        ("fall with a rest", corners(32, (0, 2), (6, 1.5), (14, 1.5), (20, 1), (32, 1.6)), 21),
        ("80 layers", corners(80, (0, 2), (4, 2), (36, 1), (80, 1.6)), 37),
        ("8 layers", corners(8, (0, 2), (1, 2), (4, 1), (8, 1.6)), 5),
        ("fast exponential fall", np.exp(-LAYERS / 5), 13),
    ],
)
def test_awkward_curves_with_a_stage_three(name: str, visual: Array, start: int) -> None:
    found = detect_stages(visual).saturation_start
    assert found is not None and abs(found - start) <= 1, name


@pytest.mark.parametrize(
    ("visual", "why"),
    [
        (np.ones(33), "no more than its unevenness"),
        (LAYERS, "no more than its unevenness"),
        (-LAYERS, "still falls near the end, to -29 at layer 29"),
        (np.exp(-LAYERS / 32), "still falls near the end"),
        (np.exp(-LAYERS / 16), "still falls near the end"),
        ([2.0, 1.9, 1.0], "no more than its unevenness"),
        ([2.0, 1.9, 1.0, 1.0], "no more than its unevenness"),
    ],
)
def test_curves_without_a_stage_three_get_none(visual: Array | list[float], why: str) -> None:
    found = detect_stages(visual)
    assert found.saturation_start is None
    assert why in found.evidence["saturation_start"]
    assert found.aggregation_start == 1


def test_noise_alone_has_no_stages() -> None:
    rng = np.random.default_rng(0)
    draws = [detect_stages(rng.standard_normal(33), rng.standard_normal(33)) for _ in range(200)]
    assert sum(found.saturation_start is not None for found in draws) <= 10
    assert sum("collapse (" in found.evidence["aggregation_start"] for found in draws) <= 10


def test_stage_three_comes_after_stage_two() -> None:
    visual = corners(12, (0, 3), (2, 1), (12, 1))
    found = detect_stages(visual, corners(12, (0, 4), (4, 2), (12, 2)))
    assert (found.aggregation_start, found.saturation_start) == (4, 5)
    assert "Stage II starts no earlier" in found.evidence["saturation_start"]


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.integers(-1000, 1000), min_size=3, max_size=40), seed=st.integers(0, 10**6))
def test_any_curve_gets_ordered_stages_or_none(values: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    text, kl = rng.standard_normal(len(values)), np.exp(5 * rng.standard_normal(len(values) - 1))
    found = detect_stages(values, text, kl)
    assert 1 <= found.aggregation_start < len(values) - 1
    if found.saturation_start is not None:
        assert found.aggregation_start < found.saturation_start < len(values) - 1


@settings(max_examples=30, deadline=None)
@given(
    family=st.sampled_from(list(FAMILIES)),
    seed=st.integers(0, 10**6),
    scale=st.floats(1e-3, 1e3),
    shift=st.floats(-100, 100),
)
def test_scale_and_shift_of_the_entropies_do_not_matter(
    family: Callable[[np.random.Generator, float], Drawn], seed: int, scale: float, shift: float
) -> None:
    visual, text, kl = family(np.random.default_rng(seed), 0.01)
    plain, moved = detect_stages(visual, text, kl), detect_stages(visual * scale + shift, text * scale - shift, kl)
    assert (plain.aggregation_start, plain.saturation_start) == (moved.aggregation_start, moved.saturation_start)
    scored = detect_stages((visual - visual.mean()) / visual.std(), (text - text.mean()) / text.std(), kl)
    assert (plain.aggregation_start, plain.saturation_start) == (scored.aggregation_start, scored.saturation_start)


def test_lists_arrays_and_tensors_are_the_same_to_it() -> None:
    visual, text, kl = qwen(np.random.default_rng(1), 0.01)
    found = detect_stages(visual, text, kl)
    assert detect_stages(visual.tolist(), tuple(text.tolist()), torch.tensor(kl)) == found
    assert detect_stages(torch.tensor(visual, requires_grad=True), text, kl) == found


@pytest.mark.parametrize(
    ("curves", "fault"),
    [
        (([1, 2],), "the visual curve is too short; got 2 points; expected 3 or more"),
        (([1, 2, np.nan],), "the visual curve is not finite; got nan at layer 2; measure again"),
        (([1, 2, 3], [1, np.inf, 3]), "the text curve is not finite; got inf at layer 1"),
        (
            ([1, 2, 3], [1, 2]),
            "the text curve has the wrong number of points; got 2; expected 3: entropies have one more",
        ),
        (
            ([1, 2, 3], None, [1, 2, 3]),
            "the kl curve has the wrong number of points; got 3; expected 2: .* kl has one a",
        ),
        (([1, 2, 3], None, [1, -0.5]), "the kl curve is negative; got -0.5 at layer 1; .* without z-scoring"),
        (([[1, 2, 3]],), r"the visual curve is not a row of numbers; got shape \(1, 3\)"),
        ((["a", "b", "c"],), "the visual curve is not a row of numbers; got list"),
    ],
)
def test_bad_curves_are_one_clear_line(curves: tuple[list[float] | None, ...], fault: str) -> None:
    with pytest.raises(DataError, match=fault) as caught:
        detect_stages(*curves)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_fits_find_what_was_drawn() -> None:
    found = knee(corners(12, (0, 4), (5, 1), (12, 0.5)), last=8)
    assert found is not None and found.layer == 5 and found.drop == pytest.approx(3)
    assert knee(corners(12, (0, 4), (12, 1)), last=8) is None
    np.testing.assert_allclose(valley(np.array([3.0, 1, 2, 0, 1, 5, 4])), [3, 1.5, 1.5, 0, 1, 4.5, 4.5])
    errors = np.random.default_rng(0).standard_normal(2000)
    assert noise(corners(1999, (0, 0), (1999, 50)) + errors) == pytest.approx(1, abs=0.1)
    assert unit(np.array([2.0, 2.0])).tolist() == [0, 0]


def test_the_type_is_guessed_from_the_published_kl_curves() -> None:
    rng = np.random.default_rng(0)
    assert {saturation_type_from_kl(kl_llava(rng, 32), 15).type for _ in range(50)} == {"layer_inactivity"}
    assert {saturation_type_from_kl(kl_qwen(rng, 28), 21).type for _ in range(50)} == {"token_sparsity"}
    guess = saturation_type_from_kl([1.0, 0.1, 0.001, 0.02, 0.5], 2)
    assert guess.type == "token_sparsity"  # the last layer does not count
    assert "up to 0.02 nats (layer 3), not below 0.003" in guess.reason and "calibrate" in guess.reason
    assert saturation_type_from_kl([1.0, 0.1], None).type == "none"
    assert saturation_type_from_kl([1.0, 0.0], 1).type == "layer_inactivity"
    with pytest.raises(DataError, match="the kl curve is too short; got 2 points; expected more than 5"):
        saturation_type_from_kl([1.0, 0.1], 5)


def test_curves_alone_answer_all_three_fields() -> None:
    visual, text, kl = qwen(np.random.default_rng(1), 0.01)
    found = stages_of_curves(visual, text, visual, kl)
    assert found.saturation_type == "token_sparsity"
    assert list(found.evidence) == ["aggregation_start", "saturation_start", "saturation_type", "joint", "basis"]
    assert stages_of_curves(visual).saturation_type is None
    assert stages_of_curves(np.ones(29), kl=kl).saturation_type == "none"
    with pytest.raises(DataError, match="the joint curve has the wrong number of points; got 28; expected 29"):
        stages_of_curves(visual, joint=visual[1:])


def test_command_prints_json_or_a_table(tmp_path: Path) -> None:
    names = ("visual", "text", "kl")
    arguments: list[str] = []
    for name, curve in zip(names, qwen(np.random.default_rng(1), 0.01), strict=True):
        path = tmp_path / f"{name}.csv"
        path.write_text("layer,value\n" + "".join(f"{layer},{value}\n" for layer, value in enumerate(curve.tolist())))
        arguments += [f"--{name}", str(path)]
    app = Typer()
    app.command()(stages)
    printed = CliRunner().invoke(app, [*arguments, "--json"])
    answer = json.loads(printed.stdout)
    assert (answer["aggregation_start"], answer["saturation_start"]) == (2, 20)
    assert answer["saturation_type"] == "token_sparsity"
    assert set(answer["evidence"]) == {"aggregation_start", "saturation_start", "saturation_type", "basis"}
    table = CliRunner().invoke(app, arguments[:2]).stdout
    assert "aggregation start" in table and "saturation start" in table and "early peak" in table
