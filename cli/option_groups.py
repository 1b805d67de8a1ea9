"""Options that several commands share, declared once in a dataclass: commands take the whole dataclass as a parameter.

@dataclass(frozen=True)
class LoadingOptions:
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "auto"

def calibrate(*, model: ModelOption, loading: LoadingOptions) -> None: ...

app.command()(flattened(calibrate))  # halfv-probe calibrate --model NAME --device cpu

The options of a group appear in `--help` at the place of its parameter. Parameters after `*` may come in any order,
whether or not they have defaults.
"""

from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints


def flattened(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each dataclass parameter of a command by the dataclass's fields, as typer needs it.

    Raises:
        ValueError: two parameters have the same name.
    """
    parameters = signature(command, eval_str=True).parameters.values()
    groups: dict[str, Any] = {
        parameter.name: parameter.annotation for parameter in parameters if is_dataclass(parameter.annotation)
    }

    @wraps(command)
    def run(**arguments: Any) -> None:
        for name, group in groups.items():
            arguments[name] = group(**{field.name: arguments.pop(field.name) for field in fields(group)})
        command(**arguments)

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
