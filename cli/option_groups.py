"""Options that several commands share are said once, in a dataclass: a command takes it whole, a user gives its fields.

@dataclass(frozen=True)
class LoadingOptions:
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "auto"

def calibrate(*, model: ModelOption, loading: LoadingOptions) -> None: ...

app.command()(flattened(calibrate))  # halfv-probe calibrate --model NAME --device cpu

A group stands where its options belong in `--help`; the parameters after `*` may come in any order, whichever of them
have defaults.
"""

from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints


def flattened(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer takes it: in place of each parameter that is a dataclass stand the dataclass's fields.

    Raises:
        ValueError: two parameters of one name.
    """
    parameters = signature(command, eval_str=True).parameters.values()
    groups: dict[str, Any] = {
        parameter.name: parameter.annotation for parameter in parameters if is_dataclass(parameter.annotation)
    }

    @wraps(command)
    def run(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    flat = [
        option.replace(kind=Parameter.KEYWORD_ONLY)
        for parameter in parameters
        for option in (_options(groups[parameter.name]) if parameter.name in groups else [parameter])
    ]
    run.__signature__ = Signature(flat)  # type: ignore[attr-defined] # what typer reads
    return run


def _options(group: type) -> Iterator[Parameter]:
    """One parameter for each field of a dataclass."""
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        default = Parameter.empty if field.default is MISSING else field.default
        yield Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=hints[field.name])
