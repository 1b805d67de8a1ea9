"""Tables for a benchmark: measured values next to computed ones, and the goals."""

from collections.abc import Iterator

from rich.markup import escape
from rich.table import Table

from probe.bench.records import CONVENTIONS, Benchmark, Spread


def bench_tables(benchmark: Benchmark) -> Iterator[Table]:
    """The subject, the measurements, the FLOPs and the goals; readable at 80 columns."""
    yield _subject(benchmark)
    yield _measured(benchmark)
    yield _flops(benchmark)
    yield _goals(benchmark)


def _subject(benchmark: Benchmark) -> Table:
    subject, machine = benchmark.subject, benchmark.machine
    table = Table(box=None, show_header=False, pad_edge=False, title=escape(subject.model), title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    weights = "random weights" if subject.random_weights else "checkpoint"
    table.add_row("model", f"{subject.parameters / 1e9:.3g} B parameters, {subject.dtype}, {weights}")
    decoder = f"{depth_text(subject.layers, subject.whole_layers)} decoder layers"
    tower = f"{depth_text(subject.vision_layers, subject.whole_vision_layers)} of the vision tower"
    table.add_row("", f"{decoder}, {tower}")
    table.add_row("prompt", f"{subject.batch} x ({subject.visual_tokens} visual + {subject.text_tokens} text tokens)")
    for index, line in enumerate(subject.plan.describe()):
        table.add_row("" if index else "plan", escape(line))
    hardware = machine.accelerator or f"{machine.processor}, {machine.threads} threads"
    clock = {"wall": "wall-clock time", "cpu": "CPU time of the process"}[subject.clock]
    table.add_row("machine", f"{hardware}; torch {benchmark.versions['torch']}; {clock}")
    return table


def depth_text(layers: int, whole: int) -> str:
    """Format a depth: `8 of 28` for a part, `28` for the whole."""
    return str(layers) if layers == whole else f"{layers} of {whole}"


def _measured(benchmark: Benchmark) -> Table:
    full, fast, ratios, analytic = benchmark.full, benchmark.accelerated, benchmark.ratios, benchmark.analytic
    table = Table("median of rounds", box=None, pad_edge=False, title="measured", title_justify="left")
    for name in ("full", "plan", "ratio (rounds)"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("by arithmetic")
    table.add_row("vision tower", milliseconds(full.vision_seconds), milliseconds(fast.vision_seconds), "", "the same")
    table.add_row(
        "prefill (decoder)",
        milliseconds(full.prefill_seconds),
        milliseconds(fast.prefill_seconds),
        ratio(ratios.prefill),
        f"{analytic.decoder_flops_ratio:.2f}x FLOPs (decoder)",
    )
    table.add_row(
        "first token",
        milliseconds(full.first_token_seconds),
        milliseconds(fast.first_token_seconds),
        ratio(ratios.first_token),
        f"{analytic.model_flops_ratio:.2f}x FLOPs (whole model)",
    )
    table.add_row(
        "decode, a token",
        milliseconds(full.decode_seconds),
        milliseconds(fast.decode_seconds),
        ratio(ratios.decode),
        f"{analytic.decode_flops_ratio:.2f}x FLOPs (decoder)",
    )
    if full.peak_bytes and fast.peak_bytes and ratios.peak:
        peaks = [megabytes(side.median) for side in (full.peak_bytes, fast.peak_bytes)]
        table.add_row("peak memory", *peaks, ratio(ratios.peak), "")
    kv = analytic.kv_bytes_full / analytic.kv_bytes
    measured = full.kv_bytes / fast.kv_bytes
    table.add_row("KV cache", megabytes(full.kv_bytes), megabytes(fast.kv_bytes), f"{measured:.2f}x", f"{kv:.2f}x")
    share, seconds = benchmark.selection_share, benchmark.selection_seconds
    table.add_row("selection", "", milliseconds(seconds), f"{share.median:.2%} of prefill", "")
    return table


def _flops(benchmark: Benchmark) -> Table:
    analytic = benchmark.analytic
    table = Table("prefill FLOPs, full over plan", box=None, pad_edge=False)
    table.add_column("ratio", justify="right")
    ratios = (analytic.visual_flops_ratio, analytic.decoder_flops_ratio, analytic.model_flops_ratio)
    for convention, value in zip(CONVENTIONS.values(), ratios, strict=True):
        table.add_row(convention, f"{value:.2f}x")
    executed = benchmark.full.executed_flops / benchmark.accelerated.executed_flops
    table.add_row("decoder layers, counted while running, with selection", f"{executed:.2f}x")
    return table


def _goals(benchmark: Benchmark) -> Table:
    table = Table("goal", "", "measured", "wanted", box=None, pad_edge=False)
    for goal in benchmark.goals:
        verdict = "[green]met[/green]" if goal.met else "[red]not met[/red]"
        table.add_row(goal.name, verdict, goal.measured, goal.wanted)
    return table


def milliseconds(spread: Spread) -> str:
    """The median, in seconds or milliseconds."""
    return f"{spread.median:.2f} s" if spread.median >= 1 else f"{spread.median * 1e3:.3g} ms"


def megabytes(count: float) -> str:
    """A number of bytes in MB (10^6 bytes)."""
    return f"{count / 1e6:,.1f} MB"


def ratio(spread: Spread) -> str:
    """The median and the range over the rounds."""
    return f"{spread.median:.2f}x ({spread.lowest:.2f}-{spread.highest:.2f})"
