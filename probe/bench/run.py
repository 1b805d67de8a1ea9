"""bench(): from a model, inputs and a plan to a `Benchmark`, step by step."""

import gc
import os
import platform
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version

import torch
from pydantic import JsonValue
from transformers import PreTrainedModel

from halfv_core.cost import Cost
from halfv_core.devices import processor_name
from halfv_core.errors import UnsupportedError
from halfv_core.families import parts_of
from halfv_core.placement import device_of
from halfv_core.plan import Plan
from halfv_core.processors import Inputs
from halfv_core.quantising import numbers_of
from probe.bench.goals import judge
from probe.bench.measure import Request, executed_flops, interleaved, planned_request, request, selection
from probe.bench.records import Analytic, Benchmark, Machine, Measured, Ratios, Spread, Subject
from probe.bench.synthetic import depths
from probe.common.progress import OnProgress, counter
from probe.common.stopwatch import CLOCKS
from probe.evaluation.flops import outside_flops

_PACKAGES = ("halfv-probe", "torch", "transformers")


def bench(
    model: PreTrainedModel,
    plan: Plan,
    inputs: Inputs,
    *,
    rounds: int = 5,
    new_tokens: int = 16,
    clock: str = "wall",
    name: str = "",
    random_weights: bool = False,
    whole: tuple[int, int] | None = None,
    arguments: Mapping[str, JsonValue] | None = None,
    on_progress: OnProgress | None = None,
) -> Benchmark:
    """Measure a model with and without a plan, in alternation.

    Args:
        inputs: a prompt of any batch size, with rows of equal length and without padding.
        rounds: number of requests with and without the plan.
        new_tokens: tokens fed after the prompt in each request.
        clock: name in `CLOCKS`; `cpu` suits a CPU that is shared with other processes.
        name, random_weights, arguments: recorded in the result; `name` is that of the model.
        whole: numbers of decoder and vision tower layers of the complete model, if this one is a slice of it.

    Raises:
        PlanError: the plan does not fit the model's depth.
        UnsupportedError: the runtime does not support the kernel or the inputs, or the clock does not suit the device.
    """
    began = time.monotonic()
    check_clock(clock, device_of(model))
    report = on_progress or (lambda step, done, total: None)
    outside, on_count = outside_flops(model, inputs), counter(report, "counting FLOPs", 2)
    executed = []
    for given in (Plan(()), plan):
        executed.append(executed_flops(model, given, inputs) - outside)
        on_count()
    on_request = counter(report, "requests in turn", 2 * (rounds + 1))
    costs: list[Cost] = []

    def run_full() -> Request:
        gc.collect()  # garbage of the previous request would count towards the memory baseline
        measured = request(model, inputs, new_tokens, CLOCKS[clock])
        on_request()
        return measured

    def run_accelerated() -> Request:
        gc.collect()
        measured, cost = planned_request(model, plan, inputs, new_tokens, CLOCKS[clock])
        costs.append(cost)
        on_request()
        return measured

    pairs = interleaved(rounds, run_full, run_accelerated)
    on_selection, chosen = counter(report, "selection", rounds), []
    for _ in range(rounds):
        chosen.append(selection(model, plan, inputs, CLOCKS[clock]))
        on_selection()
    full = _measured([pair[0] for pair in pairs], executed[0])
    accelerated = _measured([pair[1] for pair in pairs], executed[1])
    analytic, ratios = _analytic(costs[-1], outside), _ratios(pairs)
    share = Spread.of([one.share for one in chosen])
    return Benchmark(
        subject=_subject(model, plan, inputs, rounds, new_tokens, clock, name, random_weights, whole),
        full=full,
        accelerated=accelerated,
        ratios=ratios,
        selection_seconds=Spread.of([one.seconds for one in chosen]),
        selection_share=share,
        analytic=analytic,
        prefill_share=ratios.prefill.median / analytic.decoder_flops_ratio,
        goals=judge(full, accelerated, ratios, share, analytic),
        machine=machine(device_of(model)),
        versions={"python": platform.python_version()} | {package: version(package) for package in _PACKAGES},
        arguments=dict(arguments or {}),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - began, 1),
    )


def check_clock(clock: str, device: torch.device | None = None) -> None:
    """Check that a clock exists and, if it is given, measures work on the device.

    Raises:
        UnsupportedError: there is no such clock, or it is `cpu` and the model is on another device.
    """
    if clock not in CLOCKS:
        raise UnsupportedError("unknown clock", got=clock, expected=" or ".join(CLOCKS))
    if clock == "cpu" and device is not None and device.type != "cpu":
        raise UnsupportedError("the CPU's clock does not see another device", got=device, remedy="use --clock wall")


def _measured(requests: Sequence[Request], executed: int) -> Measured:
    peaks = [one.peak_bytes for one in requests if one.peak_bytes is not None]
    return Measured(
        vision_seconds=Spread.of([one.vision_seconds for one in requests]),
        prefill_seconds=Spread.of([one.prefill_seconds for one in requests]),
        first_token_seconds=Spread.of([one.first_token_seconds for one in requests]),
        decode_seconds=Spread.of([one.decode_seconds for one in requests]),
        peak_bytes=Spread.of(peaks) if peaks else None,
        kv_bytes=requests[-1].kv_bytes,
        executed_flops=executed,
    )


def _ratios(pairs: Sequence[tuple[Request, Request]]) -> Ratios:
    peaks = [full.peak_bytes / fast.peak_bytes for full, fast in pairs if full.peak_bytes and fast.peak_bytes]
    return Ratios(
        prefill=Spread.of([full.prefill_seconds / fast.prefill_seconds for full, fast in pairs]),
        first_token=Spread.of([full.first_token_seconds / fast.first_token_seconds for full, fast in pairs]),
        decode=Spread.of([full.decode_seconds / fast.decode_seconds for full, fast in pairs]),
        peak=Spread.of(peaks) if peaks else None,
    )


def _analytic(cost: Cost, outside: int) -> Analytic:
    return Analytic(
        visual_flops_ratio=cost.visual_flops_ratio,
        decoder_flops_ratio=cost.flops_ratio,
        model_flops_ratio=(outside + cost.prefill_flops_full) / (outside + cost.prefill_flops),
        decode_flops_ratio=cost.decode_flops_full / cost.decode_flops,
        decoder_flops=cost.prefill_flops,
        decoder_flops_full=cost.prefill_flops_full,
        outside_flops=outside,
        kv_bytes=cost.kv_bytes,
        kv_bytes_full=cost.kv_bytes_full,
    )


def _subject(
    model: PreTrainedModel,
    plan: Plan,
    inputs: Inputs,
    rounds: int,
    new_tokens: int,
    clock: str,
    name: str,
    random_weights: bool,
    whole: tuple[int, int] | None,
) -> Subject:
    parts, ids, layers = parts_of(model), inputs["input_ids"], depths(model.config)
    visual = int(sum((ids[0] == token).sum() for token in parts.visual_ids))
    whole_layers, whole_vision_layers = whole or layers
    return Subject(
        model=name or str(model.config.name_or_path),
        model_type=model.config.model_type,
        random_weights=random_weights,
        parameters=model.num_parameters(),
        layers=layers[0],
        whole_layers=whole_layers,
        vision_layers=layers[1],
        whole_vision_layers=whole_vision_layers,
        dtype=numbers_of(model),
        kernel=parts.decoder.config._attn_implementation,
        plan=plan,
        visual_tokens=visual,
        text_tokens=ids.shape[1] - visual,
        batch=ids.shape[0],
        new_tokens=new_tokens,
        rounds=rounds,
        clock=clock,
    )


def machine(device: torch.device) -> Machine:
    """The present machine, without host or user names."""
    return Machine(
        processor=processor_name(),
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        accelerator=torch.cuda.get_device_name(device) if device.type == "cuda" else _device_type(device),
    )


def _device_type(device: torch.device) -> str | None:
    return None if device.type == "cpu" else device.type
