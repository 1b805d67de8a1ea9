"""`halfv-probe compare-methods`: published methods on one model at the same budgets, in one run.

halfv-probe compare-methods --model qwen2.5-vl-7b --data my-questions.csv --flops 2,3,4 --methods fastv,vtw
"""

from collections.abc import Sequence
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
from cli.data_options import DataOption, ReadingOptions, print_frames, print_rejected
from cli.interrupts import resumable
from cli.model_options import LoadingOptions, ModelOption
from cli.outputs import Output, prepare
from cli.ranks import saving, sharing

if TYPE_CHECKING:
    from halfv_core import Profile
    from probe.evaluation.methods.tuning import TuningSet


def compare_methods(
    context: typer.Context,
    *,
    model: ModelOption,
    data: DataOption = "scenes-heldout",
    reading: ReadingOptions,
    flops: Annotated[str, typer.Option(help="Budgets: how many times fewer FLOPs, with commas.")] = "2,3,4",
    methods: Annotated[
        str, typer.Option(help="Names with commas, or all; random and uniform always take part.")
    ] = "all",
    profile: Annotated[
        Path | None,
        typer.Option(help="A calibration of this model: its plans take part, and methods use its measurements."),
    ] = None,
    more_profiles: Annotated[
        list[Path] | None, typer.Option(help="A further calibration of this model, whose plans take part; repeatable.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Samples to draw from those with a reference answer.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw and of the bootstrap.")] = 0,
    batch: Annotated[int, typer.Option(min=1, max=10_000, help="Samples that run together.")] = 1,
    tune_on: Annotated[
        str | None,
        typer.Option(help="Data on which each method's further settings are chosen. [default: the published settings]"),
    ] = None,
    tune_samples: Annotated[int, typer.Option(help="Samples to draw from them, as `calibrate` does.")] = 100,
    tune_seed: Annotated[int, typer.Option(min=0, help="Seed of that draw.")] = 0,
    output: Annotated[
        Path, typer.Option(help="Where the record goes, as .json, and the page beside it, as .html; name either.")
    ] = Path("methods.json"),
    grading: Annotated[str, typer.Option(help="auto (each sample's own), exact, soft or letter.")] = "auto",
    max_new_tokens: Annotated[int, typer.Option(min=1, max=1_000_000, help="Longest answer.")] = 32,
    loading: LoadingOptions,
    as_json: JsonOption = False,
) -> None:
    """Run every method at every budget on the same samples, and draw accuracy kept against FLOPs."""
    from cli.methods_table import methods_table, remarks, settings_table
    from halfv_core import Profile
    from probe.data.draw import check_count, draw_readable
    from probe.evaluation.evaluate import with_references
    from probe.evaluation.grading import as_grading
    from probe.evaluation.methods import compare_methods as compare
    from probe.evaluation.methods.entrants import budgets_of, chosen_methods
    from probe.evaluation.methods.tuning import tuning_journal
    from probe.report.methods_page import write_methods_page

    record, page = files_of(output)
    journal = journal_path(record)
    own_files = (page, journal, tuning_journal(journal))
    prepare([Output("--output", record, beside=own_files)], [profile, *(more_profiles or []), data, tune_on])
    chosen, budgets = as_grading(grading), budgets_of(numbers(flops))
    names = chosen_methods([name.strip() for name in methods.split(",")])
    loaded_profile: Profile | None = None if profile is None else Profile.load(profile)
    further = named_profiles(more_profiles or [])
    check_count(samples)
    check_count(tune_samples)
    data_parallel = sharing(loading.device, loading.tensor_parallel)
    loading.check(model)
    available = reading.read(data)
    answered = with_references(available)
    if len(answered) < len(available):
        stderr.print(
            f"{len(available) - len(answered)} of {len(available)} samples have no reference answer and are left out"
        )
    drawn, unreadable = draw_readable(answered, samples, seed)
    print_rejected(unreadable, len(drawn) + len(unreadable))
    tuning = None if tune_on is None else drawn_for_tuning(reading, tune_on, tune_samples, tune_seed)
    loaded = loading.load(model)
    print_frames(loaded.processor, drawn)
    with progress_bar() as on_progress, writing(journal), resumable(journal):
        comparison = compare(
            loaded.model,
            loaded.processor,
            drawn,
            budgets=budgets,
            methods=names,
            profile=loaded_profile,
            more_profiles=further,
            tuning=tuning,
            grading=chosen,
            max_new_tokens=max_new_tokens,
            batch=batch,
            seed=seed,
            model_id=model,
            profile_id="" if profile is None else str(profile),
            data=data,
            arguments=given_arguments(context),
            journal=journal,
            on_progress=on_progress,
            data_parallel=data_parallel,
        )
    with saving(record, journal, tuning_journal(journal)) as is_first:
        if not is_first:
            return
        write_methods_page([comparison], page)
        comparison.save(record)
    if as_json:
        print_json(comparison.model_dump(mode="json"))
        return
    stdout.print(methods_table(comparison))
    if comparison.tuned_on is not None:
        stdout.print(settings_table(comparison))
    for remark in remarks(comparison):
        stdout.print(remark, markup=False, highlight=False)
    stdout.print(f"record: {record}\npage:   {page}", markup=False, highlight=False, soft_wrap=True)


def named_profiles(paths: Sequence[Path]) -> "dict[str, Profile]":
    """Profiles by the names of their files, without the ending.

    Raises:
        HalfVError: two of the same name.
        ProfileError: see `Profile.load`.
    """
    from halfv_core import Profile
    from halfv_core.errors import HalfVError

    found: dict[str, Profile] = {}
    for path in paths:
        if path.stem in found:
            raise HalfVError("profiles are told apart by the names of their files", got=f"{path.stem} twice")
        found[path.stem] = Profile.load(path)
    return found


def drawn_for_tuning(reading: ReadingOptions, data: str, count: int, seed: int) -> "TuningSet":
    """The samples that a calibration with this number and seed draws, without those that have no reference answer.

    Raises:
        DataError: the data cannot be read, or none of the samples has a reference answer.
    """
    from probe.data.draw import draw_readable
    from probe.evaluation.evaluate import with_references
    from probe.evaluation.methods.tuning import TuningSet

    drawn, unreadable = draw_readable(reading.read(data), count, seed)
    print_rejected(unreadable, len(drawn) + len(unreadable))
    answered = with_references(drawn)
    if len(answered) < len(drawn):
        missing = len(drawn) - len(answered)
        stderr.print(f"{missing} of {len(drawn)} samples to tune on have no reference answer and are left out")
    return TuningSet(answered, data, seed)


def files_of(output: Path) -> tuple[Path, Path]:
    """The record and the page, of which the user named one.

    Raises:
        HalfVError: the name ends neither in .json nor in .html.
    """
    from halfv_core.errors import HalfVError

    if output.suffix not in (".json", ".html"):
        raise HalfVError("bad --output", got=output, expected="a name that ends in .json or .html")
    return output.with_suffix(".json"), output.with_suffix(".html")


def numbers(text: str) -> list[float]:
    """Numbers with commas between them.

    Raises:
        HalfVError: something else.
    """
    from halfv_core.errors import HalfVError

    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise HalfVError("bad --flops", got=repr(text), expected="numbers above 1 with commas, as in 2,3,4") from None
