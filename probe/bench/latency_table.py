"""Measures a latency table: how long a model's prefill takes on this machine, as a sum that predicts other plans.

    table = measure_latency(model, visual_tokens=1200, text_tokens=60)
    table.save("latency.json")

Whole prefills are timed, not single layers. A layer that is called alone, between two waits for the device, takes
longer than in a prefill, where its launch overlaps with the work of the layer before, and it leaves out what the
runtime does between layers. So prefills under some thirty plans are timed, among them plans that treat all layers
alike: each prunes to a number of tokens, or freezes with a number of queries. Non-negative least squares (Lawson and
Hanson 1974) divide the times among the amounts of `halfv_core.latency`; relative errors count, so that short prefills
are predicted as well as long ones.
"""

import platform
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls
from transformers import PreTrainedModel

from halfv_core.cost import tokens_by_layer
from halfv_core.devices import setting_of
from halfv_core.errors import UnsupportedError
from halfv_core.families import parts_of
from halfv_core.latency import LatencyTable, MeasuredPrefill, amounts, choices_of
from halfv_core.placement import device_of
from halfv_core.plan import Freeze, Keep, Plan
from halfv_core.processors import Inputs
from halfv_core.profile import config_fingerprint
from halfv_core.runtime.patching import Forward, Wrap, wrapped
from probe.bench.inputs import synthetic_inputs
from probe.bench.measure import prefill_seconds
from probe.bench.run import check_clock
from probe.common.progress import OnProgress, counter
from probe.common.stopwatch import CLOCKS

SELECTORS = ("uniform", "anchor_coverage", "attention")
"""Selectors whose choices are measured: the cheapest, the default, and that of most published methods."""
SHARES = (0.5, 0.25, 0.125)
"""Shares of the visual tokens at which layers are measured."""
_PACKAGES = ("halfv-probe", "torch", "transformers")


class Fit(NamedTuple):
    """What explains measured prefills."""

    bends: tuple[int, ...]
    coefficients: dict[str, float]
    errors: tuple[float, ...]
    """For each prefill, predicted from all others: |predicted - measured| / measured."""


def measure_latency(
    model: PreTrainedModel,
    *,
    visual_tokens: int,
    text_tokens: int = 60,
    rounds: int = 5,
    clock: str = "wall",
    name: str = "",
    on_progress: OnProgress | None = None,
) -> LatencyTable:
    """Measure the prefills of two prompts under many plans, in another order in each round, after a warm-up round.

    Args:
        visual_tokens, text_tokens: of the longest prompts that the table is for; the nearest that the family supports.
            The second prompt has half as many visual tokens, where the family has images of several sizes, and twice
            the text.
        rounds: number of prefills of each kind that are timed.
        clock: name in `CLOCKS`; `cpu` suits a CPU that is shared with other processes.
        name: of the model, as the user gave it.

    Raises:
        UnsupportedError: a decoder of one layer, no inputs can be built for the family, or the clock does not suit
            the device.
    """
    began = time.monotonic()
    check_clock(clock, device_of(model))
    layers = len(parts_of(model).layers)
    if layers < 2:
        raise UnsupportedError("latency is measured with plans for two layers or more", got=f"{layers} layer")
    prompts = [(visual_tokens, text_tokens), (max(1, visual_tokens // 2), 2 * text_tokens)]
    work = list(chain.from_iterable(_prefills(model, layers, *prompt) for prompt in prompts))
    report = on_progress or (lambda step, done, total: None)
    timed = _timed(model, work, rounds, clock, counter(report, "prefills", len(work) * (rounds + 1)))
    fitted = fit(timed, layers)
    return LatencyTable(
        model=name or str(model.config.name_or_path),
        model_type=model.config.model_type,
        config_fingerprint=config_fingerprint(model.config),
        layers=layers,
        setting=setting_of(model),
        clock=clock,
        prefills=tuple(timed),
        bends=fitted.bends,
        selectors=SELECTORS,
        coefficients=fitted.coefficients,
        error=float(np.median(fitted.errors)),
        worst_error=max(fitted.errors),
        versions={"python": platform.python_version()} | {package: version(package) for package in _PACKAGES},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - began, 1),
    )


def plans_to_measure(layers: int, visual: int) -> list[Plan]:
    """Plans whose prefills differ in one amount after another, for a decoder of 2 layers or more."""
    half = layers // 2

    def keep(layer: int, share: float, selector: str = "uniform") -> Keep:
        return Keep(layer=layer, tokens=int(visual * share), selector=selector)

    everywhere = range(layers)
    plans = [Plan(())]
    plans += [Plan((keep(0, share),)) for share in (*SHARES, 0.0)]
    plans += [Plan((keep(half, share),)) for share in (SHARES[1], 0.0)]
    plans += [Plan((Freeze(layers=everywhere),)), Plan((Freeze(layers=range(half, layers)),))]
    plans += [
        Plan((Freeze(layers=everywhere, tokens=int(visual * share), selector="uniform"),)) for share in SHARES[:2]
    ]
    plans += [Plan((keep(0, share), Freeze(layers=everywhere))) for share in SHARES[:2]]
    for selector in SELECTORS[1:]:
        plans += [Plan((keep(1, share, selector),)) for share in SHARES[::2]]
        plans.append(Plan((keep(0, SHARES[0]), keep(1, SHARES[1], selector))))
    return plans


def fit(prefills: Sequence[MeasuredPrefill], layers: int) -> Fit:
    """Divide measured times among amounts, by least squares of the relative errors without negative milliseconds.

    Raises:
        UnsupportedError: a prefill took no time by its clock.
    """
    if not all(one.median_ms for one in prefills):
        raise UnsupportedError("the clock is too coarse for prefills of this model", remedy="use the other --clock")
    rows = [tokens_by_layer(one.plan, layers, one.visual_tokens, one.text_tokens) for one in prefills]
    longest = max(row.visual + row.text for row in chain.from_iterable(rows))
    bends = tuple(int(longest * share) for share in reversed(SHARES))
    found = [
        amounts(tokens, choices_of(one.plan, layers, one.visual_tokens), bends, SELECTORS)
        for one, tokens in zip(prefills, rows, strict=True)
    ]
    names = list(found[0])
    # Each prefill is divided by its time, so that 1 is wanted of all of them.
    matrix = np.array([[each[name] for name in names] for each in found])
    matrix /= np.array([one.median_ms for one in prefills])[:, None]
    errors = [
        abs(float(matrix[index] @ _non_negative(np.delete(matrix, index, axis=0))) - 1) for index in range(len(matrix))
    ]
    return Fit(bends, dict(zip(names, map(float, _non_negative(matrix)), strict=True)), tuple(errors))


def _non_negative(matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """x >= 0 with the least squares of matrix @ x - 1; columns are brought to one size first, for the arithmetic."""
    sizes = np.linalg.norm(matrix, axis=0)
    sizes[sizes == 0] = 1
    return np.asarray(nnls(matrix / sizes, np.ones(len(matrix)), maxiter=100 * matrix.shape[1])[0] / sizes)


class _Prefill(NamedTuple):
    """A prompt, its sizes, and a plan."""

    inputs: Inputs
    image: Callable[[Forward], Forward]
    """What gives the features of the prompt's image without running the vision tower again."""
    visual: int
    text: int
    plan: Plan


def _prefills(model: PreTrainedModel, layers: int, visual_tokens: int, text_tokens: int) -> list[_Prefill]:
    inputs = synthetic_inputs(model, visual_tokens=visual_tokens, text_tokens=text_tokens)
    ids = inputs["input_ids"]
    visual = int(sum((ids == token).sum() for token in parts_of(model).visual_ids))
    image = _once()
    return [_Prefill(inputs, image, visual, ids.shape[1] - visual, plan) for plan in plans_to_measure(layers, visual)]


def _once() -> Callable[[Forward], Forward]:
    """Returns what wraps a function so that it runs once, whatever its arguments, and then gives that result again."""
    results: list[Any] = []

    def around(function: Forward) -> Forward:
        def remembered(*args: Any, **kwargs: Any) -> Any:
            if not results:
                results.append(function(*args, **kwargs))
            return results[0]

        return remembered

    return around


def _timed(
    model: PreTrainedModel, work: Sequence[_Prefill], rounds: int, clock: str, on_prefill: Callable[[], None]
) -> list[MeasuredPrefill]:
    order, core = random.Random(0), parts_of(model).core
    times: list[list[float]] = [[] for _ in work]
    for _ in range(rounds + 1):
        for index in order.sample(range(len(work)), len(work)):
            one = work[index]
            with wrapped([Wrap(core, "get_image_features", one.image)], plan=False), torch.no_grad():
                times[index].append(1000 * prefill_seconds(model, one.plan, one.inputs, CLOCKS[clock]))
            on_prefill()
    return [
        MeasuredPrefill(
            plan=one.plan, visual_tokens=one.visual, text_tokens=one.text, milliseconds=tuple(milliseconds[1:])
        )
        for one, milliseconds in zip(work, times, strict=True)
    ]
