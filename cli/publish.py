"""`halfv-probe publish`: a profile as a repository of the Hugging Face hub, from where others load it by name.

halfv-probe publish profile.json owner/qwen2.5-vl-7b-halfv
"""

from pathlib import Path
from typing import Annotated

import typer

from cli.common import JsonOption, ProfileArgument, print_json, stdout, writing


def publish(
    profile: ProfileArgument,
    repository: Annotated[str, typer.Argument(help="OWNER/NAME of a model repository.", show_default=False)],
    report: Annotated[
        Path | None,
        typer.Option(help="Publish this report as well, with the images and questions that it shows."),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Write the files into this folder instead, to look at them.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a profile on the Hugging Face hub, with a model card; neither images nor questions unless asked to."""
    from cli.model_card import model_card, public_copy
    from halfv_core import hub
    from halfv_core.files import write_atomically
    from halfv_core.profile import Profile

    hub.check_repository(repository)
    shared = public_copy(Profile.load(profile))
    files = {
        hub.PROFILE_FILE: (shared.model_dump_json(indent=1) + "\n").encode(),
        "README.md": model_card(shared, repository).encode(),
    }
    if report is not None:
        files["report.html"] = _content(report)
    if output is not None:
        for name, content in files.items():
            with writing(output / name):
                write_atomically(output / name, content)
        place = str(output)
    else:
        place = hub.publish(repository, files, private=private)
    if as_json:
        print_json({"repository": repository, "files": sorted(files), "written to": place})
    else:
        stdout.print(f"{', '.join(sorted(files))} written to {place}", soft_wrap=True, highlight=False, markup=False)


def _content(report: Path) -> bytes:
    from halfv_core.errors import HalfVError
    from halfv_core.files import read_text

    try:
        return read_text(report).encode()
    except (OSError, UnicodeDecodeError) as error:
        raise HalfVError(f"cannot read the report {report}: {getattr(error, 'strerror', None) or error}") from None
