"""`halfv-probe doctor`: what is installed, which devices there are, and whether a model can be probed.

halfv-probe doctor --model llava-1.5-7b
"""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer

from cli.common import DeviceOption, DtypeOption, JsonOption, TrustOption, load_quietly, print_json, stdout

TESTED_PYTHON = "3.11"
TESTED = {
    "torch": "2.13.0",
    "transformers": "5.23.0",
    "nnsight": "0.8.1",
    "plotly": "7.1.0",
    "pydantic": "2.14.3",
}
"""Package -> version that the tests passed with, as in constraints.txt."""


def doctor(
    model: Annotated[str | None, typer.Option(help="Also load this model and see whether it can be probed.")] = None,
    dtype: DtypeOption = "auto",
    device: DeviceOption = "auto",
    trust_remote_code: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show versions, devices and, with --model, whether that model can be probed."""
    result: dict[str, Any] = {
        "python": platform.python_version(),
        "packages": {name: {"installed": installed(name), "tested": tested} for name, tested in TESTED.items()},
        "devices": list(devices()),
        "model": examine(model, dtype, device, trust_remote_code) if model else None,
    }
    if as_json:
        print_json(result)
    else:
        show(result)


def installed(package: str) -> str | None:
    """The version of an installed package, without a build's suffix; None when it is absent."""
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return None


def devices() -> list[str]:
    """What torch can run on here."""
    import torch

    found = [f"cpu ({torch.get_num_threads()} threads)"]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(f"cuda:{index} ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)")
    return found + (["mps"] if torch.backends.mps.is_available() else [])


def examine(name: str, dtype: str, device: str, trust_remote_code: bool) -> dict[str, Any]:
    """What probing needs to know about a model.

    Raises:
        ModelError: it cannot be loaded, or no family fits it.
    """
    from halfv_core.families import family_of, parts_of

    model = load_quietly(name, dtype, device, trust_remote_code).model
    parts = parts_of(model)
    return {
        "name": name,
        "family": family_of(model).name,
        "layers": len(parts.layers),
        "visual_token_ids": list(parts.visual_ids),
        "attention": model.config.get_text_config()._attn_implementation,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "parameters": model.num_parameters(),
    }


def show(result: dict[str, Any]) -> None:
    """The same for people."""
    from rich.table import Table

    table = Table("what", "found", "tested with", box=None, pad_edge=False)
    table.add_row("python", result["python"], TESTED_PYTHON)
    for name, versions in result["packages"].items():
        table.add_row(name, versions["installed"] or "[red]not installed[/red]", versions["tested"])
    stdout.print(table)
    stdout.print(f"devices: {', '.join(result['devices'])}", markup=False, highlight=False)
    if result["model"]:
        stdout.print("the model can be probed:", highlight=False)
        for key, value in result["model"].items():
            stdout.print(f"  {key.replace('_', ' ')}: {value}", markup=False, highlight=False)
