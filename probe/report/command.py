"""The command that makes a profile again."""

import shlex
from collections.abc import Iterator

from halfv_core.profile import Profile

OUTPUTS = ("as_json", "output", "report")
"""Options that say where results go, not what they are."""


def reproduce(profile: Profile) -> str:
    """`halfv-probe calibrate` with the options that the user gave, quoted for a POSIX shell."""
    where = profile.provenance
    given = {"model": where.model_id, "data": where.data} | where.arguments_given
    words = [word for name, value in given.items() if name not in OUTPUTS for word in _option(name, value)]
    return shlex.join(["halfv-probe", "calibrate", *words])


def _option(name: str, value: object) -> Iterator[str]:
    """A flag that is off says nothing, and a repeatable option is said once for each value."""
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        yield from [option] if value else []
    elif isinstance(value, list):
        for one in value:
            yield from (option, str(one))
    elif value is not None:
        yield from (option, str(value))
