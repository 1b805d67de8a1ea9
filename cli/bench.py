"""`halfv-probe bench`: speed and memory with and without a plan, in alternating runs, next to the computed costs.

halfv-probe bench --random-weights --model qwen2.5-vl-7b --layers 8 --vision-layers 8
halfv-probe bench --model /path/to/Qwen2.5-VL-7B-Instruct --profile profile.json --dtype bfloat16
halfv-probe bench --model /path/to/Qwen2.5-VL-7B-Instruct --latency-table latency.json --dtype bfloat16
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import (
    SMALL_MODEL,
    JsonOption,
    claimed,
    given_arguments,
    print_json,
    progress_bar,
    stdout,
    writing,
)
from cli.model_options import LoadingOptions, ModelOption
from cli.outputs import Output, prepare
from cli.plan_options import FreezeOption, KeepOption, MethodOptions, parse_plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue
    from transformers import PreTrainedConfig, PreTrainedModel

    from halfv_core import Plan, Profile


def bench(
    context: typer.Context,
    *,
    model: ModelOption,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="The model's shape with random weights: no checkpoint, no hub.")
    ] = False,
    layers: Annotated[
        int | None, typer.Option(min=1, help="Only so many decoder layers, with --random-weights.")
    ] = None,
    vision_layers: Annotated[int | None, typer.Option(min=1, help="Likewise, layers of the vision tower.")] = None,
    profile: Annotated[Path | None, typer.Option(help="Run under this profile's plan.")] = None,
    keep: KeepOption = None,
    freeze: FreezeOption = None,
    published: MethodOptions,
    visual_tokens: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Visual tokens a prompt; the nearest possible.")
    ] = 1200,
    text_tokens: Annotated[int, typer.Option(max=1_000_000, help="Text tokens a prompt.")] = 60,
    batch: Annotated[int, typer.Option(min=1, max=10_000, help="Prompts at a time.")] = 1,
    new_tokens: Annotated[int, typer.Option(min=1, max=1_000_000, help="Tokens decoded after the prompt.")] = 16,
    rounds: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Pairs of requests, with and without the plan.")
    ] = 5,
    clock: Annotated[str, typer.Option(help="wall, or cpu: without what neighbours on the same CPU take.")] = "wall",
    threads: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Threads of the CPU. [default: torch's own]")
    ] = None,
    output: Annotated[Path, typer.Option(help="Where the record goes.")] = Path("bench.json"),
    latency_table: Annotated[
        Path | None,
        typer.Option(
            help="Instead of a record, measure a table that predicts the latency of every plan into this file."
        ),
    ] = None,
    loading: LoadingOptions,
    as_json: JsonOption = False,
) -> None:
    """Measure speed and memory with and without a plan."""
    from cli.bench_table import bench_tables
    from halfv_core import HalfVError, Profile
    from probe.bench import bench as run
    from probe.bench import synthetic_inputs
    from probe.bench.inputs import check_text
    from probe.bench.run import check_clock

    _check(random_weights, layers, vision_layers, profile, keep, freeze)
    if latency_table is not None:
        _check_table(given_arguments(context))
    published.check()
    if published.method is not None and (keep or freeze):
        raise HalfVError("two plans were given", remedy="leave out --method, or --keep and --freeze")
    typed_plan = parse_plan(keep or [], freeze or []) if keep or freeze else None
    written = Output("--output", output) if latency_table is None else Output("--latency-table", latency_table)
    prepare([written], [profile])
    given_profile = None if profile is None else Profile.load(profile)
    check_clock(clock)
    check_text(text_tokens)
    loaded_model, whole = _model(model, random_weights, layers, vision_layers, loading, threads)
    if latency_table is not None:
        _measure_table(loaded_model, model, latency_table, visual_tokens, text_tokens, rounds, clock, as_json)
        return
    typed_plan = typed_plan or published.plan(loaded_model.config, visual_tokens, text_tokens, given_profile)
    plan = typed_plan or _plan(model, loaded_model.config, whole[0], given_profile, random_weights)
    plan.check_depth(loaded_model.config.get_text_config().num_hidden_layers)
    inputs = synthetic_inputs(loaded_model, visual_tokens=visual_tokens, text_tokens=text_tokens, batch=batch)
    with progress_bar() as on_progress, writing(output), claimed(output):
        benchmark = run(
            loaded_model,
            plan,
            inputs,
            rounds=rounds,
            new_tokens=new_tokens,
            clock=clock,
            name=model,
            random_weights=random_weights,
            whole=whole,
            arguments=given_arguments(context),
            on_progress=on_progress,
        )
        benchmark.save(output)
    if as_json:
        print_json(benchmark.model_dump(mode="json"))
        return
    for table in bench_tables(benchmark):
        stdout.print(table)
    if benchmark.subject.visual_tokens != visual_tokens:
        stdout.print(f"{visual_tokens} visual tokens were asked for; {benchmark.subject.visual_tokens} are nearest.")
    stdout.print(f"record: {output}", markup=False, highlight=False)


def _check(
    random_weights: bool,
    layers: int | None,
    vision_layers: int | None,
    profile: Path | None,
    keep: list[str] | None,
    freeze: list[str] | None,
) -> None:
    from halfv_core.errors import HalfVError

    if not random_weights and (layers is not None or vision_layers is not None):
        raise HalfVError(
            "a checkpoint is run whole", remedy="add --random-weights, or leave out --layers and --vision-layers"
        )
    if profile is not None and (keep or freeze):
        raise HalfVError("two plans were given", remedy="leave out --profile, or --keep and --freeze")


_OF_RECORD = ("profile", "keep", "freeze", "method", "flops", "batch", "new_tokens", "output")
"""The options that a latency table does not depend on."""


def _check_table(given: "Mapping[str, JsonValue]") -> None:
    from halfv_core.errors import HalfVError

    others = [f"--{name.replace('_', '-')}" for name in given if name in _OF_RECORD]
    if others:
        raise HalfVError(
            "a latency table is of many plans, and is written instead of a record",
            got=", ".join(others),
            remedy="leave them out, or leave out --latency-table",
        )


def _measure_table(
    loaded: "PreTrainedModel",
    name: str,
    path: Path,
    visual_tokens: int,
    text_tokens: int,
    rounds: int,
    clock: str,
    as_json: bool,
) -> None:
    """Measure a latency table, write it, and say how well it predicts."""
    from probe.bench.latency_table import measure_latency

    with progress_bar() as on_progress, writing(path, "--latency-table"), claimed(path):
        table = measure_latency(
            loaded,
            visual_tokens=visual_tokens,
            text_tokens=text_tokens,
            rounds=rounds,
            clock=clock,
            name=name,
            on_progress=on_progress,
        )
        table.save(path)
    if as_json:
        print_json(table.model_dump(mode="json"))
        return
    full = table.prefills[0]
    stdout.print(f"{len(table.prefills)} plans and prompts measured in {rounds} rounds, {table.seconds:.0f} s")
    stdout.print(
        f"without a plan: {full.median_ms:.1f} ms for {full.visual_tokens} visual and {full.text_tokens} text tokens"
    )
    stdout.print(
        f"each predicted from the others: wrong by {table.error:.1%} in the median, {table.worst_error:.1%} at worst"
    )
    stdout.print(f"latency table: {path}", markup=False, highlight=False)


def _model(
    name: str,
    random_weights: bool,
    layers: int | None,
    vision_layers: int | None,
    loading: LoadingOptions,
    threads: int | None,
) -> tuple["PreTrainedModel", tuple[int, int]]:
    """The model, and the depths of decoder and vision tower in the complete model."""
    import torch

    from probe.bench.synthetic import depths

    if random_weights:
        model, whole = _random(name, layers, vision_layers, loading)
    else:
        model = loading.load(name).model
        whole = depths(model.config)
    if threads is not None:
        torch.set_num_threads(threads)
    return model, whole


def _random(
    name: str, layers: int | None, vision_layers: int | None, loading: LoadingOptions
) -> tuple["PreTrainedModel", tuple[int, int]]:
    """Create a model with random weights.

    Returns:
        The model, and the depths of decoder and vision tower in the complete model.

    Raises:
        ModelError: an unknown dtype or device.
    """
    import torch
    from transformers.utils import logging

    from halfv_core.devices import check_device
    from halfv_core.errors import ModelError
    from halfv_core.loading import DTYPES
    from probe.bench import config_of, random_model, sliced
    from probe.bench.synthetic import depths

    dtype, device = loading.dtype, loading.device
    spreading = {
        "--device-map": loading.device_map,
        "--max-memory": loading.max_memory,
        "--tensor-parallel": loading.tensor_parallel,
        "--load-in": loading.load_in,
    }
    for option, value in spreading.items():
        if value:
            raise ModelError("random weights are made whole on one device", remedy=f"leave out {option}")
    if dtype not in DTYPES:
        raise ModelError("unknown dtype", got=dtype, expected=" or ".join(DTYPES))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch_device = check_device(device)
    logging.set_verbosity_error()
    config = config_of(name, trust_remote_code=loading.trust_remote_code)
    whole = depths(config)
    torch_dtype = torch.bfloat16 if dtype == "auto" else getattr(torch, dtype)
    random_weights_model = random_model(
        sliced(config, layers, vision_layers),
        dtype=torch_dtype,
        device=torch_device,
        attn_implementation=loading.attn_implementation,
    )
    if random_weights_model.num_parameters() < SMALL_MODEL:
        torch.set_num_threads(1)
    return random_weights_model, whole


def _plan(name: str, config: "PreTrainedConfig", depth: int, profile: "Profile | None", random_weights: bool) -> "Plan":
    """The plan of the given profile, of the profile shipped with a bundled model, or the published plan."""
    from halfv_core import Profile
    from halfv_core.models import bundled_models
    from probe.bench import published_plan

    bundled = bundled_models()
    if profile is None and name in bundled:
        profile = Profile.load(bundled[name].parents[1] / "profiles" / f"{name}.json")
    if profile is None:
        return published_plan(config.model_type, depth, config.get_text_config().num_hidden_layers)
    if not random_weights:
        profile.check_model(config)
    return profile.plan
