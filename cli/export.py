"""`halfv-probe export`: a validated profile as JSON or YAML, for other programs.

halfv-probe export profile.json --format yaml --output profile.yaml
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import JsonOption, ProfileArgument, echo_json, writing
from cli.outputs import Output, prepare

if TYPE_CHECKING:
    from halfv_core.profile import Profile


class Format(StrEnum):
    """The file formats of a profile."""

    JSON = "json"
    YAML = "yaml"


def export(
    profile: ProfileArgument,
    format: Annotated[Format, typer.Option(help="What to write.")] = Format.JSON,
    output: Annotated[Path | None, typer.Option(help="Where it goes; without it, stdout.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print or convert a profile."""
    from halfv_core.errors import HalfVError
    from halfv_core.files import write_atomically
    from halfv_core.profile import Profile

    if as_json and format is Format.YAML:
        raise HalfVError("--json and --format yaml contradict each other", remedy="leave out one of them")
    text = as_text(Profile.load(profile), format)
    if output is None:
        echo_json(text) if format is Format.JSON else typer.echo(text, nl=False)
        return
    prepare([Output("--output", output)], [profile])
    with writing(output):
        write_atomically(output, text)


def as_text(profile: "Profile", format: Format) -> str:
    """The profile as text, from which the same profile can be read again."""
    if format is Format.JSON:
        return profile.model_dump_json(indent=1) + "\n"
    import yaml

    data = profile.model_dump(mode="json")
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
