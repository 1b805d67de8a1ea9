"""`halfv-probe plot`: a profile as one HTML page that opens without a network.

halfv-probe plot profile.json --output report.html --open
"""

from pathlib import Path
from typing import Annotated

import typer

from cli.common import JsonOption, ProfileArgument, print_json, stdout, writing


def plot(
    profile: ProfileArgument,
    output: Annotated[Path, typer.Option(help="Where the page goes.")] = Path("report.html"),
    open_page: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Draw a profile's curves, stages, tests and provenance as one HTML page."""
    from halfv_core.profile import Profile
    from probe.report import Subject, write_report

    loaded = Profile.load(profile)
    with writing(output):
        write_report([Subject(loaded)], output)
    if as_json:
        print_json({"report": str(output), "bytes": output.stat().st_size})
    else:
        stdout.print(f"report: {output}", markup=False, highlight=False, soft_wrap=True)
    if open_page:
        typer.launch(output.resolve().as_uri())
