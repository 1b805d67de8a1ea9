"""Two tables of docs/benchmarks.md, of a CPU and of a GPU, from the records beside it.

make bench          # measures anew (see the Makefile for the commands), then writes the tables
make bench-gpu      # likewise, on an accelerator
"""

from collections.abc import Callable, Sequence

from cli.bench_table import depth_text, megabytes, milliseconds, ratio
from data_samples.studies.tables import RECORDS, markdown, write_table
from probe.bench import Benchmark
from probe.bench.records import CONVENTIONS, Measured, Spread

COMMAND = "python -m data_samples.studies.benchmarks"
GPU_COMMAND = "make bench-gpu"
ON_A_CPU = ("qwen2.5-vl-7b", "llava-1.5-7b", "tiny-qwen2.5-vl")
ON_A_GPU = tuple(
    f"h200/{name}"
    for name in (
        "qwen2.5-vl-7b",
        "qwen2.5-vl-7b-batch-8",
        "qwen2.5-vl-7b-long",
        "llava-1.5-7b",
        "llava-1.5-7b-batch-16",
    )
)


def main() -> None:
    write_table(COMMAND, benchmarks_table(read_records(ON_A_CPU)))
    write_table(GPU_COMMAND, benchmarks_table(read_records(ON_A_GPU)))


def read_records(names: Sequence[str]) -> list[Benchmark]:
    """The shipped benchmarks of these names."""
    return [Benchmark.load(RECORDS / f"{name}.json") for name in names]


def benchmarks_table(records: Sequence[Benchmark]) -> str:
    """Markdown: a column for each benchmark, measured beside what arithmetic says."""
    rows: dict[str, Callable[[Benchmark], str]] = {
        "weights": lambda one: "random" if one.subject.random_weights else "trained",
        "layers of the decoder": lambda one: depth_text(one.subject.layers, one.subject.whole_layers),
        "layers of the vision tower": lambda one: depth_text(
            one.subject.vision_layers, one.subject.whole_vision_layers
        ),
        "precision": lambda one: one.subject.dtype,
        "prompts at a time": lambda one: str(one.subject.batch),
        "visual + text tokens": lambda one: f"{one.subject.visual_tokens} + {one.subject.text_tokens}",
        "plan": lambda one: "; ".join(one.subject.plan.describe()),
        "clock, threads": lambda one: f"{one.subject.clock}, {one.machine.threads}",
        "rounds": lambda one: str(one.subject.rounds),
        "vision tower and projector": _seconds("vision_seconds", "full"),
        "prefill of the decoder, full": _seconds("prefill_seconds", "full"),
        "prefill of the decoder, plan": _seconds("prefill_seconds", "accelerated"),
        "**prefill ratio** (rounds)": lambda one: f"**{ratio(one.ratios.prefill)}**",
        f"FLOPs ratio: {CONVENTIONS['decoder']}": lambda one: f"{one.analytic.decoder_flops_ratio:.2f}x",
        "**share of it that arrives**": lambda one: f"**{one.prefill_share:.0%}**",
        f"FLOPs ratio: {CONVENTIONS['visual']}": lambda one: f"{one.analytic.visual_flops_ratio:.2f}x",
        "first token ratio (rounds)": lambda one: ratio(one.ratios.first_token),
        f"FLOPs ratio: {CONVENTIONS['model']}": lambda one: f"{one.analytic.model_flops_ratio:.2f}x",
        "selection": lambda one: f"{milliseconds(one.selection_seconds)}, {one.selection_share.median:.1%} of prefill",
        "decode, a token, full": _seconds("decode_seconds", "full"),
        "decode ratio (rounds)": lambda one: ratio(one.ratios.decode),
        "KV cache": lambda one: f"{megabytes(one.full.kv_bytes)} -> {megabytes(one.accelerated.kv_bytes)}",
        "KV cache by arithmetic": lambda one: (
            f"{megabytes(one.analytic.kv_bytes_full)} -> {megabytes(one.analytic.kv_bytes)}"
        ),
        "peak memory ratio (rounds)": lambda one: "-" if one.ratios.peak is None else ratio(one.ratios.peak),
        "goals met": lambda one: ", ".join(goal.name for goal in one.goals if goal.met),
        "goals not met": lambda one: ", ".join(goal.name for goal in one.goals if not goal.met) or "none",
    }
    head = ["", *(f"`{one.subject.model}`" for one in records)]
    return markdown(head, [[name, *map(cell, records)] for name, cell in rows.items()])


def in_short(one: Benchmark) -> str:
    """One benchmark in half a sentence, as docs/results.md has it."""
    flops = f"{one.analytic.decoder_flops_ratio:.2f}x fewer FLOPs of the decoder ({one.prefill_share:.0%})"
    first, decode = ratio(one.ratios.first_token), ratio(one.ratios.decode)
    prefill = f"prefill {ratio(one.ratios.prefill)} as fast at {flops}"
    return f"`{one.subject.model}`: {prefill}, first token {first}, decoding {decode}"


def _seconds(field: str, side: str) -> Callable[[Benchmark], str]:
    def cell(one: Benchmark) -> str:
        measured: Measured = getattr(one, side)
        spread: Spread = getattr(measured, field)
        return milliseconds(spread)

    return cell


if __name__ == "__main__":
    main()
