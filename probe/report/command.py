"""The command line that makes a record again."""

import re
import shlex
from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from halfv_core.errors import UNPRINTABLE
from halfv_core.profile import Profile

_ESCAPED = re.compile(f"{UNPRINTABLE.pattern}|[\\t\\n]")
OUTPUTS = ("as_json", "output", "report")
"""Options that determine where results are written, but not the results."""


def reproduce(profile: Profile) -> str:
    """The `halfv-probe calibrate` that makes a profile again."""
    provenance = profile.provenance
    return command_line(
        "calibrate", {"model": provenance.model_id, "data": provenance.data} | provenance.arguments_given
    )


def command_line(command: str, given: Mapping[str, JsonValue]) -> str:
    """A command with the options that the user gave, quoted for a POSIX shell.

    A word with control characters, which a terminal would act on when the command is pasted, is quoted as bash and zsh
    do it, with escapes.

    Args:
        given: by the parameter that an option sets.
    """
    words = [word for name, value in given.items() if name not in OUTPUTS for word in _option(name, value)]
    return " ".join(map(_quoted, ["halfv-probe", command, *words]))


def _quoted(word: str) -> str:
    if not _ESCAPED.search(word):
        return shlex.quote(word)
    text = word.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "'"


def _option(name: str, value: object) -> Iterator[str]:
    """The words for one option: none for a flag that is off, and a list value repeats the option."""
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        yield from [option] if value else []
    elif isinstance(value, list):
        for item in value:
            yield from (option, str(item))
    elif value is not None:
        yield from (option, str(value))
