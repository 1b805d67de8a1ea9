"""`halfv-probe plot`: profiles as one HTML page that needs no network, and its charts as files.

halfv-probe plot profile.json --output report.html --open
halfv-probe plot A.json B.json --export csv,png figures
halfv-probe plot methods.json
halfv-probe plot analysis.json
"""

import json
from collections.abc import Callable
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import JsonOption, print_json, stdout, writing
from cli.outputs import Output, prepare

if TYPE_CHECKING:
    from pydantic import JsonValue

    from probe.report.export import Format

ProfilesArgument = Annotated[
    list[Path],
    typer.Argument(
        help="Made by `halfv-probe calibrate`; or records of `halfv-probe compare-methods`; or one of `analyze`.",
        show_default=False,
    ),
]
ExportOption = Annotated[
    tuple[str, Path],
    typer.Option(
        "--export",
        metavar="FORMATS DIR",
        help="Also write every chart into a folder, as csv, json, png or svg; several with commas, as in csv,svg. "
        "png and svg need the optional package kaleido, and Chromium or Chrome.",
        show_default=False,
    ),
]


def plot(
    profiles: ProfilesArgument,
    output: Annotated[Path, typer.Option(help="Where the page goes.")] = Path("report.html"),
    open_page: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    export: ExportOption = ("", Path()),
    as_json: JsonOption = False,
) -> None:
    """Draw curves, stages, tests and provenance of one or several profiles as one HTML page."""
    from halfv_core.profile import Profile
    from probe.analysis.records import is_analysis
    from probe.calibration.observations import Observations, beside
    from probe.evaluation.methods.records import is_comparison
    from probe.report import Subject, write_report
    from probe.report.export import chart_files
    from probe.report.export import export as write_charts

    for draw, recognises in ((_draw_methods, is_comparison), (_draw_analysis, is_analysis)):
        if any(_says(path, recognises) for path in profiles):
            _plot_records(profiles, draw, output, export[0], open_page, as_json)
            return
    names, folder = export
    formats = [_format(name) for name in names.split(",")] if names else []
    loaded = [Profile.load(path) for path in profiles]
    prefixes = stems(profiles)
    charts = tuple(chart_files(prefixes, formats, folder))
    outputs = [Output("--output", output), Output("--export", None, beside=charts)]
    prepare(outputs, [*profiles, *map(beside, profiles)])
    if formats:
        with writing(folder, option="folder for --export"):
            folder.mkdir(parents=True, exist_ok=True)
    subjects = [Subject(profile, Observations.of(path)) for profile, path in zip(loaded, profiles, strict=True)]
    with writing(output):
        write_report(subjects, output)
    exported: dict[str, list[Path]] = {}
    for format in formats:
        with writing(folder, option="folder for --export"):
            exported[format] = write_charts(dict(zip(prefixes, subjects, strict=True)), format, folder)
    if as_json:
        files = {format: [str(path) for path in paths] for format, paths in exported.items()}
        print_json({"report": str(output), "bytes": output.stat().st_size, **({"exported": files} if exported else {})})
    else:
        lines = [f"{format}: {len(paths)} files in {folder}" for format, paths in exported.items()]
        stdout.print("\n".join([f"report: {output}", *lines]), markup=False, highlight=False, soft_wrap=True)
    if open_page:
        typer.launch(output.resolve().as_uri())


def _says(path: Path, recognises: "Callable[[JsonValue], bool]") -> bool:
    """Whether a file says that it is a record of some kind; whatever else is wrong is found out later."""
    from halfv_core.files import read_text

    try:
        return recognises(json.loads(read_text(path)))
    except (OSError, ValueError, RecursionError):
        return False


def _plot_records(
    records: list[Path], draw: Callable[[list[Path]], str], output: Path, export: str, open_page: bool, as_json: bool
) -> None:
    from halfv_core.errors import HalfVError
    from halfv_core.files import write_atomically

    if export:
        raise HalfVError("--export is for profiles", got=str(records[0]), remedy="use the page's buttons")
    page = draw(records)
    prepare([Output("--output", output)], records)
    with writing(output):
        write_atomically(output, page)
    if as_json:
        print_json({"report": str(output), "bytes": output.stat().st_size})
    else:
        stdout.print(f"report: {output}", markup=False, highlight=False, soft_wrap=True)
    if open_page:
        typer.launch(output.resolve().as_uri())


def _draw_methods(records: list[Path]) -> str:
    from probe.evaluation.methods import MethodComparison
    from probe.report.methods_page import render_methods

    return render_methods([MethodComparison.load(path) for path in records])


def _draw_analysis(records: list[Path]) -> str:
    from halfv_core.errors import HalfVError
    from probe.analysis.records import Analysis
    from probe.report.analysis_page import render_analysis

    if len(records) > 1:
        raise HalfVError("a page shows one analysis", got=f"{len(records)} files", remedy="plot them one by one")
    return render_analysis(Analysis.load(records[0]))


def stems(profiles: list[Path]) -> list[str]:
    """Prefix of each profile's chart files, different for all of them.

    It is the file name, with the folder's name if two profiles share a name, and a number if that is not enough.
    """
    from probe.report.export import COMPARISON

    names = [path.stem for path in profiles]
    taken = {COMPARISON} if len(profiles) > 1 else set[str]()
    found = []
    for path in profiles:
        name = f"{path.resolve().parent.name}-{path.stem}" if names.count(path.stem) > 1 else path.stem
        candidates = chain([name], (f"{name}-{number}" for number in count(2)))
        stem = next(candidate for candidate in candidates if candidate.casefold() not in taken)
        taken.add(stem.casefold())
        found.append(stem)
    return found


def _format(name: str) -> "Format":
    from halfv_core.errors import HalfVError
    from probe.report.export import FORMATS

    for known in FORMATS:
        if name == known:
            return known
    raise HalfVError("unknown --export format", got=repr(name), expected=f"one of {', '.join(FORMATS)}")
