"""What a calibration costs, in plain forward passes over the same prompts, beside every pass made by itself.

    python -m data_samples.studies.calibration_benchmark

`shared` is what `calibrate` does: the variants of a prompt start at the layer they change, and the curves need few
eigenvalues. `separate` measures the same one by one: a whole run for each variant, and every Gram matrix decomposed in
float64. Both take turns on each prompt and must agree. Times are the processor's, of one thread, so that others on the
machine do not count. In the sum, the KL curve counts for the samples that have one, and the judged plans as often as
the search runs a plan on a sample; samples that are kept apart do not count. Prints a table, and writes
docs/benchmarks/calibration.json and the table of docs/benchmarks.md.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial, wraps
from typing import Annotated, Any, TypeVar

import torch
import typer

from cli.common import load_quietly, stdout
from data_samples.studies.entropy_benchmark import decomposed
from data_samples.studies.results import PROFILES
from data_samples.studies.tables import RECORDS, markdown, write_table
from halfv_core import Profile, apply
from halfv_core.cost import DecoderShape
from halfv_core.devices import processor_name
from halfv_core.families import parts_of
from halfv_core.models import LoadedModel
from halfv_core.plan import Plan
from halfv_core.profile import write_atomically
from halfv_core.runtime.layout import TokenLayout
from halfv_core.runtime.patching import Forward, Wrap, wrapped
from probe.analyzers.causal_curves import causal_plans, tried_layers
from probe.analyzers.layer_redundancy import layer_redundancy
from probe.analyzers.marginal_utility import grid_plans
from probe.analyzers.tme import entropy_curves
from probe.calibration.grids import utility_grid
from probe.calibration.settings import Settings
from probe.capture.hidden_states import capture
from probe.data.inputs import inputs_of
from probe.data.samples import Sample, load_samples
from probe.trials.answers import Inputs, greedy_answer, read_answer
from probe.trials.try_plans import Case, try_plans

COMMAND = "python -m data_samples.studies.calibration_benchmark"
OUTPUT = RECORDS / "calibration.json"
PLAIN, CAPTURE, ENTROPIES, REDUNDANCY, ANSWER = "plain pass", "hidden states", "entropies", "KL curve", "answer"
JUDGED = "judged plans"
"""The plans of the shipped frontier, which stand for all that the search runs."""
NATS = 1e-3
"""How far the two ways may differ."""

Found = TypeVar("Found")
Costs = dict[str, dict[str, float]]
"""Step -> `shared`, `separate`: seconds of all prompts."""


def main(
    model: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    samples: Annotated[int, typer.Option(help="Prompts of the shipped scenes.")] = 8,
) -> None:
    """Measure the bundled models."""
    torch.set_num_threads(1)
    results = []
    for name in model or ["tiny-llava", "tiny-llava-next", "tiny-qwen2.5-vl"]:
        results.append(measure(load_quietly(name, "float32", "cpu", False), load_samples("scenes")[:samples]))
        stdout.print(f"{name}: done", highlight=False)
    machine = {"processor": processor_name(), "threads": 1, "torch": torch.__version__}
    record = {**machine, "created": datetime.now(UTC).isoformat(timespec="seconds"), "results": results}
    write_atomically(OUTPUT, json.dumps(record, indent=1) + "\n")
    write_table(COMMAND, table(results))
    stdout.print(table(results), soft_wrap=True, markup=False, highlight=False)


def measure(loaded: LoadedModel, samples: Sequence[Sample]) -> dict[str, Any]:
    """One model on some prompts.

    Raises:
        ValueError: the two ways do not agree.
    """
    profile, settings = Profile.load(PROFILES / f"{loaded.name}.json"), Settings()
    shape = DecoderShape.of(loaded.model.config.get_text_config(), 4)
    layers = shape.layers
    tried = {
        "marginal utility": grid_plans(*utility_grid(shape, settings), settings.selector, settings.options),
        "causal curves": causal_plans(tried_layers(layers), layers, settings.top_share),
        JUDGED: [test.plan for test in profile.pruning_tests if test.plan.interventions],
    }
    assert profile.search is not None
    count = len(profile.provenance.sample_ids)
    weights = {
        REDUNDANCY: settings.kl_samples / count,
        JUDGED: profile.search.plan_samples / count / len(tried[JUDGED]),
    }
    costs: Costs = {}
    for number, sample in enumerate([samples[0], *samples]):
        inputs = inputs_of(loaded.processor, sample, loaded.model.device)
        found = dict(_one_prompt(loaded, inputs, tried))
        for name, ways in found.items() if number else ():  # the first pays for warming up
            for way, seconds in ways.items():
                costs.setdefault(name, {}).setdefault(way, 0.0)
                costs[name][way] += seconds
    plain = costs[PLAIN]["shared"]
    return {
        "model": loaded.name,
        "layers": layers,
        "prompts": len(samples),
        "variants": {REDUNDANCY: layers} | {name: len(plans) for name, plans in tried.items()},
        "weights": {name: round(weight, 3) for name, weight in weights.items()},
        "plain_pass_ms": round(1e3 * plain / len(samples), 2),
        "plain_passes": {
            name: {way: round(seconds / plain, 2) for way, seconds in ways.items()} for name, ways in costs.items()
        },
    }


def _one_prompt(
    loaded: LoadedModel, inputs: Inputs, tried: dict[str, list[Plan]]
) -> Iterator[tuple[str, dict[str, float]]]:
    """Steps, each with the seconds of both ways."""
    model = loaded.model
    _, seconds = _timed(lambda: _plain(model, inputs))
    yield PLAIN, {"shared": seconds, "separate": seconds}
    states, seconds = _timed(lambda: capture(model, inputs))
    yield CAPTURE, {"shared": seconds, "separate": seconds}
    yield (
        ENTROPIES,
        _both(
            lambda: torch.stack(entropy_curves(states.hidden, states.visual)),
            lambda: torch.stack(decomposed(states.hidden, states.visual)),
        ),
    )
    yield REDUNDANCY, _both(lambda: layer_redundancy(model, inputs), lambda: _layer_by_layer(model, inputs))
    answer, generated = _timed(lambda: greedy_answer(model, inputs, Settings().max_new_tokens))
    read, seconds = _timed(lambda: read_answer(model, inputs, answer))
    yield ANSWER, {"shared": generated + seconds, "separate": generated + seconds}
    case = Case(lambda: inputs, answer, read.log_likelihood)
    for name, plans in tried.items():
        yield name, _both(partial(_replayed, model, case, plans), partial(_one_by_one, model, case, plans))


def _both(shared: Callable[[], torch.Tensor], separate: Callable[[], torch.Tensor]) -> dict[str, float]:
    found, seconds = _timed(shared)
    wanted, longer = _timed(separate)
    off = (found.double() - wanted.double()).abs().max().item()
    if off > NATS:
        raise ValueError(f"the two ways differ by {off:.2g} nats")
    return {"shared": seconds, "separate": longer}


def _timed(work: Callable[[], Found]) -> tuple[Found, float]:
    began = time.process_time()
    found = work()
    return found, time.process_time() - began


@torch.no_grad()
def _plain(model: Any, inputs: Inputs) -> torch.Tensor:
    """(vocabulary,) log-probabilities of the next token."""
    return model(**inputs, use_cache=False, logits_to_keep=1).logits[0, -1].double().log_softmax(-1)  # type: ignore[no-any-return]


def _layer_by_layer(model: Any, inputs: Inputs) -> torch.Tensor:
    """(L,) the KL curve from L whole runs and the full one."""
    parts = parts_of(model)
    visual = TokenLayout.find(inputs["input_ids"], parts.visual_ids).visual[0, :, None]  # (N, 1)
    full, found = _plain(model, inputs), []
    for layer in parts.layers:
        with wrapped([Wrap(layer, "forward", partial(_leaving, visual))]):
            found.append((full.exp() * (full - _plain(model, inputs))).sum())
    return torch.stack(found)


def _leaving(visual: torch.Tensor, forward: Forward) -> Forward:
    """A layer that leaves the visual rows as they came."""

    @wraps(forward)
    def run(hidden: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return torch.where(visual, hidden, forward(hidden, **kwargs))

    return run


def _replayed(model: Any, case: Case, plans: list[Plan]) -> torch.Tensor:
    return torch.tensor([readings.drops[0] for readings in try_plans(model, [case], plans)])


def _one_by_one(model: Any, case: Case, plans: list[Plan]) -> torch.Tensor:
    found = []
    for plan in plans:
        with apply(model, plan):
            found.append(case.log_likelihood - read_answer(model, case.inputs(), case.answer).log_likelihood)
    return torch.tensor(found)


def table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: plain passes a prompt, shared and separate."""
    steps = list(results[0]["plain_passes"])
    lines = []
    for name in steps[1:]:
        variants = results[0]["variants"].get(name)
        cells = [_cell(one["plain_passes"][name]) for one in results]
        varying = "" if len({one["variants"].get(name) for one in results}) > 1 else f" ({variants} variants)"
        lines.append([f"{name}{varying}" if variants else name, *cells])
    sums = [
        {
            way: sum(one["weights"].get(name, 1.0) * one["plain_passes"][name][way] for name in steps[1:])
            for way in ("shared", "separate")
        }
        for one in results
    ]
    lines.append(["**a calibration, per sample**", *(f"**{_cell(one)}**" for one in sums)])
    lines.append(["a plain pass", *(f"{one['plain_pass_ms']:.0f} ms" for one in results)])
    return markdown(["", *(f"`{one['model']}`" for one in results)], lines)


def _cell(ways: dict[str, float]) -> str:
    shared, separate = ways["shared"], ways["separate"]
    return f"{shared:.1f}" if shared == separate else f"{shared:.1f}, separately {separate:.1f}"


if __name__ == "__main__":
    typer.run(main)
