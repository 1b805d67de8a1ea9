"""`halfv-probe estimate`: what a calibration will need of memory and time on given GPUs, and the command to run.

halfv-probe estimate --model qwen2.5-vl-72b --gpus 8x80GB --samples 100
"""

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.common import JsonOption, print_json, stdout

if TYPE_CHECKING:
    from probe.estimate.gpus import Gpus, Layout
    from probe.estimate.lookup import Found


def estimate(
    model: Annotated[
        str | None, typer.Option("--model", help="Name (see `halfv-probe models`), folder, or hub id. Not loaded.")
    ] = None,
    gpus: Annotated[str, typer.Option(help="GPUs of the machine, as 8x80GB; a GB is 10^9 bytes.")] = "1x80GB",
    samples: Annotated[int, typer.Option(help="Samples of the calibration.", min=2)] = 100,
    visual_tokens: Annotated[int, typer.Option(help="Visual tokens of a prompt.", min=1, max=10_000_000)] = 2500,
    text_tokens: Annotated[
        int, typer.Option(help="Other tokens, those of the answer included.", min=1, max=10_000_000)
    ] = 100,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    low_memory: Annotated[bool, typer.Option("--low-memory", help="As in `calibrate`.")] = False,
    load_in: Annotated[str | None, typer.Option(help="Weights packed into 4bit or 8bit, as in `calibrate`.")] = None,
    tflops: Annotated[
        float | None,
        typer.Option(help="Sustained TFLOP/s of a GPU, from which hours are computed.", min=0.001, max=1_000_000),
    ] = None,
    tokens_per_second: Annotated[
        float | None,
        typer.Option(help="Prompt tokens a replica takes in a second, likewise.", min=0.001, max=1_000_000_000),
    ] = None,
    as_list: Annotated[bool, typer.Option("--list", help="List the models whose sizes are built in.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say whether a calibration fits on GPUs, how long it takes, and with which command. Nothing is loaded."""
    if model is None or as_list:
        _list_known(as_json)
        return
    from halfv_core.errors import HalfVError
    from probe.estimate.gpus import PACKED, Gpus, Way, best_layout
    from probe.estimate.lookup import find_sizes

    if load_in is not None and load_in not in PACKED:
        raise HalfVError("bad --load-in", got=load_in, expected=" or ".join(PACKED))
    if tflops is not None and tokens_per_second is not None:
        raise HalfVError("two throughputs", got="--tflops and --tokens-per-second", expected="one of them")
    machine, found = Gpus.parse(gpus), find_sizes(model, dtype)
    layout = best_layout(found.sizes, machine, visual_tokens, text_tokens, Way(low_memory, load_in))
    command = _command(model, dtype, samples, machine, layout) if layout.fits else None
    time = _time(found, samples, visual_tokens, text_tokens, layout, tflops, tokens_per_second)
    if as_json:
        print_json(_record(model, found, machine, layout, time, command, visual_tokens, text_tokens))
    else:
        _print(model, found, machine, layout, time, command)
    if not layout.fits:
        raise typer.Exit(1)


def _list_known(as_json: bool) -> None:
    """The models whose sizes are built in; torch is not needed for this."""
    from rich.table import Table

    from probe.estimate.sizes import KNOWN

    if as_json:
        print_json(
            [
                {
                    "name": name, "parameters": one.parameters, "layers": one.decoder.layers,
                    "hidden": one.decoder.hidden, "query_width": one.decoder.query_width,
                    "kv_width": one.decoder.kv_width, "mlp": one.decoder.mlp, "vocabulary": one.vocabulary,
                }
                for name, one in KNOWN.items()
            ]
        )  # fmt: skip
        return
    table = Table("model", box=None, pad_edge=False)
    for column in ("parameters", "layers", "hidden", "MLP", "keys", "vocabulary"):
        table.add_column(column, justify="right")
    for name, one in KNOWN.items():
        shape = one.decoder
        sizes = (shape.layers, shape.hidden, shape.mlp, shape.kv_width, one.vocabulary)
        table.add_row(name, f"{one.parameters / 1e9:.1f} B", *map(str, sizes))
    stdout.print(table)
    stdout.print("Any other checkpoint: --model /path/to/folder, or a hub id that is in the cache.", highlight=False)


def _command(model: str, dtype: str, samples: int, machine: "Gpus", layout: "Layout") -> str:
    """The command line of the calibration."""
    options = ["calibrate", "--model", model, "--data", "DATA", "--samples", str(samples), "--output", "profile.json"]
    options += ["--dtype", dtype] if dtype != "auto" else []
    options += ["--device-map", "balanced"] if layout.gpus_each > 1 else []
    options += ["--load-in", layout.way.load_in] if layout.way.load_in else []
    options += ["--low-memory"] if layout.way.low_memory else []
    start = ["halfv-probe"]
    if layout.replicas > 1:
        start = ["torchrun", "--nproc-per-node", str(layout.replicas), "-m", "cli.main"]
    return shlex.join([*start, *options])


def _time(
    found: "Found", samples: int, visual: int, text: int, layout: "Layout", tflops: float | None, tokens: float | None
) -> dict[str, Any]:
    """Passes, and hours if a throughput is given; GPUs of one replica compute one after the other."""
    from probe.estimate.passes import pass_flops, passes

    count, flops = passes(found.sizes, visual, text, samples), pass_flops(found.sizes, visual, text)
    each = None if tflops is None else flops / (tflops * 1e12)
    if tokens is not None:
        each = (visual + text) / tokens
    assumption = None if tflops is None else f"{tflops:g} TFLOP/s a GPU, of which one of a replica computes at a time"
    if tokens is not None:
        assumption = f"{tokens:g} prompt tokens a second a replica"
    side_by_side = max(1, layout.replicas)
    return {
        "passes_per_sample": round(count.per_sample, 1),
        "passes": round(count.total),
        "pass_tflops": round(flops / 1e12, 3),
        "hours": None if each is None or not layout.fits else round(count.total * each / side_by_side / 3600, 3),
        "assumption": assumption,
    }


def _record(
    model: str, found: "Found", machine: "Gpus", layout: "Layout", time: dict[str, Any], command: str | None,
    visual: int, text: int,
) -> dict[str, Any]:  # fmt: skip
    return {
        "model": model, "sizes": found.source, "dtype": found.dtype, "parameters": found.sizes.parameters,
        "visual_tokens": visual, "text_tokens": text, "gpus": machine.number, "gpu_bytes": machine.memory,
        "fits": layout.fits, "replicas": layout.replicas, "gpus_each": layout.gpus_each,
        "low_memory": layout.way.low_memory, "load_in": layout.way.load_in,
        "weights_bytes": layout.weights, "beside_bytes": layout.beside, "step": layout.step,
        "needed_bytes": layout.needed, **time, "command": command,
    }  # fmt: skip


def _print(
    model: str, found: "Found", machine: "Gpus", layout: "Layout", time: dict[str, Any], command: str | None
) -> None:
    from rich.markup import escape
    from rich.table import Table

    from probe.estimate.gpus import MARGIN, RUNTIME_BYTES

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    way = [f"--load-in {layout.way.load_in}"] if layout.way.load_in else []
    way += ["--low-memory"] if layout.way.low_memory else []
    table.add_row(
        "model", f"{escape(model)}, {found.sizes.parameters / 1e9:.1f} B parameters, {found.dtype} ({found.source})"
    )
    table.add_row("weights", f"{layout.weights / 1e9:.1f} GB on the fullest GPU of a replica")
    table.add_row("beside them", f"{layout.beside / 1e9:.1f} GB at most, in the step '{layout.step}'")
    table.add_row(
        "needed", f"{layout.needed / 1e9:.1f} of {machine.memory / 1e9:g} GB a GPU, with {MARGIN - 1:.0%} of what is "
        f"beside the weights and {RUNTIME_BYTES / 1e9:g} GB for the runtime added",
    )  # fmt: skip
    if layout.fits:
        replicas = "1 replica" if layout.replicas == 1 else f"{layout.replicas} replicas"
        each = "1 GPU each" if layout.gpus_each == 1 else f"{layout.gpus_each} GPUs each"
        table.add_row("fits", ", ".join([replicas, each, *way]))
    else:
        enough = layout.needed <= machine.memory
        more = f"a replica needs {layout.gpus_each} such GPUs" if enough else "no number of such GPUs is enough"
        table.add_row("fits", f"no: {more}, also with packed weights and --low-memory it needs more than there are")
    table.add_row(
        "passes", f"{time['passes_per_sample']} a sample, {time['passes']:,} in all, {time['pass_tflops']:g} TFLOP each"
    )
    if time["hours"] is not None:
        table.add_row("hours", f"{time['hours']:.3g} at {time['assumption']}")
    stdout.print(table)
    if command is not None:
        stdout.print(command, markup=False, highlight=False, soft_wrap=True)
