"""`halfv-probe analyze`: probe how a model looks at its images, and write what was found as one file.

halfv-probe analyze --model qwen2.5-vl-7b --data photos --probes shares,lens --output analysis.json --report report.html
"""

from pathlib import Path
from typing import Annotated

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


def analyze(
    context: typer.Context,
    *,
    model: ModelOption,
    data: DataOption = "scenes",
    reading: ReadingOptions,
    probes: Annotated[str, typer.Option(help="Probes to run, with commas between them, or all.")] = "all",
    samples: Annotated[int, typer.Option(min=1, help="Samples to draw from the data.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
    output: Annotated[Path, typer.Option(help="Where the analysis goes.")] = Path("analysis.json"),
    report: Annotated[Path | None, typer.Option(help="Also write a self-contained HTML report here.")] = None,
    profile: Annotated[
        Path | None, typer.Option(help="Profile of this model, whose stages are shown beside the probes.")
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="Samples kept with their images and maps.")] = 6,
    max_new_tokens: Annotated[int, typer.Option(min=1, max=1_000_000, help="Longest answer that is followed.")] = 32,
    budget: Annotated[
        str | None, typer.Option(help="Time for measuring, as in 5min; fewer samples are measured, 10 at least.")
    ] = None,
    loading: LoadingOptions,
    as_json: JsonOption = False,
) -> None:
    """Run probes on a model: where it looks, what its layers say, which tokens and heads matter."""
    from cli.analysis_table import analysis_table
    from halfv_core import Profile
    from probe.analysis.analyze import analyze as run_probes
    from probe.analysis.analyze import chosen_probes
    from probe.calibration.budget.budget import parse_budget
    from probe.report.analysis_page import write_analysis_page

    journal = journal_path(output)
    prepare([Output("--output", output, beside=(journal,)), Output("--report", report)], [data, profile])
    names = chosen_probes([name.strip() for name in probes.split(",")])
    seconds = None if budget is None else parse_budget(budget)
    loaded_profile = None if profile is None else Profile.load(profile)
    data_parallel = sharing(loading.device, loading.tensor_parallel)
    loading.check(model)
    loaded_samples = reading.read(data)
    loaded = loading.load(model)
    print_frames(loaded.processor, loaded_samples)
    with progress_bar() as on_progress, writing(journal), resumable(journal):
        analysis = run_probes(
            loaded.model,
            loaded.processor,
            loaded_samples,
            probes=names,
            count=samples,
            seed=seed,
            examples=examples,
            max_new_tokens=max_new_tokens,
            budget=seconds,
            profile=loaded_profile,
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
        analysis.save(output)
    if report is not None:
        with writing(report, "--report"):
            write_analysis_page(analysis, report)
    for sentence in analysis.provenance.dropped:
        stderr.print(f"not measured: {sentence}", markup=False, highlight=False)
    if as_json:
        print_json(analysis.model_dump(mode="json"))
    else:
        stdout.print(analysis_table(analysis))
        stderr.print(f"wrote {output}{f' and {report}' if report else ''}", markup=False, highlight=False)
