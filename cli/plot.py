"""`halfv-probe plot`: profiles as one HTML page that needs no network, and its charts as files.

halfv-probe plot profile.json --output report.html --open
halfv-probe plot A.json B.json --export csv,png figures
halfv-probe plot methods.json
halfv-probe plot analysis.json --export csv,pdf figures
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
        help="Also write every chart into a folder, as csv, json, png, svg or pdf; several with commas, as in csv,svg. "
        "Pictures need the optional package kaleido, and Chromium or Chrome.",
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

    names, folder = export
    formats = [_format(name) for name in names.split(",")] if names else []
    if any(_says(path, is_comparison) for path in profiles):
        _plot_methods(profiles, output, names, open_page, as_json)
        return
    if any(_says(path, is_analysis) for path in profiles):
        _plot_analysis(profiles, output, formats, folder, open_page, as_json)
        return
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
    _say(output, exported, folder, open_page, as_json)


def _says(path: Path, recognises: "Callable[[JsonValue], bool]") -> bool:
    """Whether a file says that it is a record of some kind; whatever else is wrong is found out later."""
    from halfv_core.files import read_text

    try:
        return recognises(json.loads(read_text(path)))
    except (OSError, ValueError, RecursionError):
        return False


def _plot_methods(records: list[Path], output: Path, export: str, open_page: bool, as_json: bool) -> None:
    from halfv_core.errors import HalfVError
    from halfv_core.files import write_atomically
    from probe.evaluation.methods import MethodComparison
    from probe.report.methods_page import render_methods

    if export:
        got = str(records[0])
        raise HalfVError("--export is for profiles and analyses", got=got, remedy="use the page's buttons")
    page = render_methods([MethodComparison.load(path) for path in records])
    prepare([Output("--output", output)], records)
    with writing(output):
        write_atomically(output, page)
    _say(output, {}, Path(), open_page, as_json)


def _plot_analysis(
    records: list[Path], output: Path, formats: "list[Format]", folder: Path, open_page: bool, as_json: bool
) -> None:
    from halfv_core.errors import HalfVError
    from probe.analysis.records import Analysis
    from probe.report.analysis_export import analysis_files, export_analysis
    from probe.report.analysis_page import write_analysis_page

    if len(records) > 1:
        raise HalfVError("a page shows one analysis", got=f"{len(records)} files", remedy="plot them one by one")
    analysis, prefix = Analysis.load(records[0]), records[0].stem
    files = tuple(analysis_files(analysis, prefix, formats, folder))
    prepare([Output("--output", output), Output("--export", None, beside=files)], records)
    with writing(output):
        write_analysis_page(analysis, output)
    exported: dict[str, list[Path]] = {}
    for format in formats:
        with writing(folder, option="folder for --export"):
            folder.mkdir(parents=True, exist_ok=True)
            exported[format] = export_analysis(analysis, prefix, format, folder)
    _say(output, exported, folder, open_page, as_json)


def _say(output: Path, exported: dict[str, list[Path]], folder: Path, open_page: bool, as_json: bool) -> None:
    """Print what was written, and show the page if asked for."""
    if as_json:
        files = {format: [str(path) for path in paths] for format, paths in exported.items()}
        print_json({"report": str(output), "bytes": output.stat().st_size, **({"exported": files} if exported else {})})
    else:
        lines = [f"{format}: {len(paths)} files in {folder}" for format, paths in exported.items()]
        stdout.print("\n".join([f"report: {output}", *lines]), markup=False, highlight=False, soft_wrap=True)
    if open_page:
        typer.launch(output.resolve().as_uri())


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
