"""`halfv-probe calibrate`: measure a model on samples, write its profile, and print a summary.

halfv-probe calibrate --model qwen2.5-vl-7b --data photos --output profile.json --report report.html
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import (
    JsonOption,
    given_arguments,
    journal_path,
    print_json,
    progress_bar,
    stderr,
    stdout,
    writing,
)
from cli.data_options import DataOption, ReadingOptions, print_frames
from cli.interrupts import resumable
from cli.model_options import LoadingOptions, ModelOption
from cli.outputs import Output, prepare
from cli.ranks import saving, sharing

if TYPE_CHECKING:
    from probe.calibration.settings import Settings

OPTIONS = {"keep_ratios": "--keep-ratio"}
"""Settings whose option has another name."""


def calibrate(
    context: typer.Context,
    *,
    model: ModelOption,
    data: DataOption = "scenes",
    reading: ReadingOptions,
    samples: Annotated[int, typer.Option(help="Samples to draw from the data.")] = 100,
    output: Annotated[Path, typer.Option(help="Where the profile goes.")] = Path("profile.json"),
    report: Annotated[Path | None, typer.Option(help="Also write a self-contained HTML report here.")] = None,
    held_out: Annotated[float, typer.Option(help="Share of the samples kept apart to check the plan.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    keep_ratio: Annotated[
        list[float] | None, typer.Option(help="Share to try at Stage II, repeatable. [default: 0.1, 0.25, 0.5, 0.75]")
    ] = None,
    selector: Annotated[str, typer.Option(help="How visual tokens are chosen at Stage II.")] = "anchor_coverage",
    option: Annotated[list[str] | None, typer.Option(help="Setting of the selector, NAME=VALUE, repeatable.")] = None,
    top_share: Annotated[float, typer.Option(help="Share kept in Stage III under token sparsity.")] = 0.05,
    target_retention: Annotated[
        float | None,
        typer.Option(help="Share of the full model's score to keep; the cheapest plan is taken. [default: 0.97]"),
    ] = None,
    target_flops: Annotated[
        float | None, typer.Option(help="FLOPs ratio to reach; the plan that keeps most is taken.")
    ] = None,
    target_kv: Annotated[float | None, typer.Option(help="KV cache ratio to reach, likewise.")] = None,
    target_latency: Annotated[
        float | None, typer.Option(help="Prefill time ratio to reach by the latency table, likewise.")
    ] = None,
    latency_table: Annotated[
        Path | None, typer.Option(help="Prefill times of this machine, from `halfv-probe bench --latency-table`.")
    ] = None,
    certify: Annotated[
        int, typer.Option(help="Further samples of the data that are kept apart, to prove what the plan keeps.")
    ] = 200,
    strict: Annotated[
        bool, typer.Option("--strict", help="Take a plan only if the target is proven for it; else exit with 1.")
    ] = False,
    method: Annotated[
        str | None,
        typer.Option(
            help="Measure what a published method needs, and take its plan (see `halfv-probe methods`); "
            "--target-flops sets its budget, --target-retention VisiPruner's settings. [default: search for a plan]"
        ),
    ] = None,
    low_memory: Annotated[
        bool, typer.Option("--low-memory", help="Need half of the memory beside the weights; slower, same results.")
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(help="Time for measuring, loading apart, as in 5min; what is needed least is dropped first."),
    ] = None,
    examples: Annotated[
        int, typer.Option(help="Samples kept with their images, small, beside the profile for the report; 0: no image.")
    ] = 6,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer that is compared.")] = 32,
    entropy_k: Annotated[int, typer.Option(help="Eigenvalues in the entropy.")] = 50,
    kl_samples: Annotated[int, typer.Option(help="Samples whose KL curve is measured, the slowest curve.")] = 16,
    release_curve: Annotated[
        bool, typer.Option("--release-curve", help="Also compute the visual entropy as the public code does; slow.")
    ] = False,
    loading: LoadingOptions,
    as_json: JsonOption = False,
) -> None:
    """Find the stages of a model's visual information and write a profile that `halfv_core.apply` takes."""
    from cli.summary import summary_table
    from halfv_core.latency import LatencyTable
    from probe.calibration.budget.budget import parse_budget
    from probe.calibration.calibrate import calibrate_in_full
    from probe.calibration.observations import beside
    from probe.report import Subject, write_report

    journal = journal_path(output)
    outputs = [Output("--output", output, beside=(journal, beside(output))), Output("--report", report)]
    prepare(outputs, [data])
    settings = _settings(
        samples=samples,
        held_out=held_out,
        seed=seed,
        entropy_k=entropy_k,
        kl_samples=kl_samples,
        release_curve=release_curve,
        keep_ratios=tuple(keep_ratio) if keep_ratio else None,
        selector=selector,
        options=selector_options(option or []),
        top_share=top_share,
        target_retention=target_retention,
        target_flops=target_flops,
        target_kv=target_kv,
        target_latency=target_latency,
        latency_table=None if latency_table is None else LatencyTable.load(latency_table),
        certify=certify,
        strict=strict,
        max_new_tokens=max_new_tokens,
        method=method,
        low_memory=low_memory,
        budget=None if budget is None else parse_budget(budget),
        examples=examples,
    )
    data_parallel = sharing(loading.device, loading.tensor_parallel)
    loading.check(model)
    loaded_samples = reading.read(data)
    loaded = loading.load(model)
    print_frames(loaded.processor, loaded_samples)
    with progress_bar() as on_progress, writing(journal), resumable(journal):
        profile, observations = calibrate_in_full(
            loaded.model,
            loaded.processor,
            loaded_samples,
            settings,
            model_id=model,
            data=data,
            arguments=given_arguments(context),
            journal=journal,
            on_progress=on_progress,
            data_parallel=data_parallel,
        )
    with saving(output, journal) as is_first:
        if not is_first:
            return
        observations.save(beside(output))
        profile.save(output)
    if report is not None:
        with writing(report, "--report"):
            write_report([Subject(profile, observations)], report)
    if as_json:
        print_json(profile.model_dump(mode="json"))
    else:
        stdout.print(summary_table(profile))
        stdout.print(f"profile: {output}" + (f"\nreport:  {report}" if report else ""), markup=False, highlight=False)
    if strict and profile.certificate is not None and profile.certificate.proven_plan is None:
        stderr.print(f"--strict: {profile.certificate.sentence}", markup=False, highlight=False)
        raise typer.Exit(1)


def _settings(**values: object) -> "Settings":
    """The settings of a calibration; None stands for the default.

    Raises:
        HalfVError: a value out of range, which is named by its option.
    """
    from pydantic import ValidationError

    from halfv_core import HalfVError
    from halfv_core.errors import first_fault
    from probe.calibration.settings import Settings

    try:
        return Settings.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        place, _, fault = first_fault(error).partition(": ")
        name = place.partition(".")[0]
        option = OPTIONS.get(name, f"--{name.replace('_', '-')}")
        raise HalfVError(f"bad {option}: {fault}" if place != "value" else f"bad options: {fault}") from None


def selector_options(pairs: list[str]) -> dict[str, bool | int | float | str]:
    """Parse `NAME=VALUE` pairs; numbers and true/false are converted.

    Raises:
        HalfVError: a pair without a name, a value or an equals sign.
    """
    from halfv_core import HalfVError

    options: dict[str, bool | int | float | str] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if not name or not value:
            raise HalfVError("bad --option", got=repr(pair), expected="NAME=VALUE, as in anchor_share=0.2")
        try:
            parsed = json.loads(value)
        except json.JSONDecodeError:
            parsed = value
        options[name] = parsed if isinstance(parsed, bool | int | float) else value
    return options
