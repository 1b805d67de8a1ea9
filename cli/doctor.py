"""`halfv-probe doctor`: what is installed, which devices there are, whether a model can be probed and data can be read.

halfv-probe doctor --model llava-1.5-7b --data my-questions.csv
"""

import platform
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.common import JsonOption, print_json, stdout
from cli.data_options import ReadingOptions
from cli.model_options import LoadingOptions

if TYPE_CHECKING:
    from PIL import Image

    from probe.data.samples import Sample, Samples

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
    *,
    model: Annotated[str | None, typer.Option(help="Also load this model and see whether it can be probed.")] = None,
    data: Annotated[str | None, typer.Option(help="Also read this data set and show what its columns mean.")] = None,
    reading: ReadingOptions,
    loading: LoadingOptions,
    as_json: JsonOption = False,
) -> None:
    """Show versions, devices, with --model whether that model can be probed, with --data how those data are read."""
    result: dict[str, Any] = {
        "python": platform.python_version(),
        "packages": {name: {"installed": installed(name), "tested": tested} for name, tested in TESTED.items()},
        "devices": list(devices()),
        "model": describe_model(model, loading) if model else None,
        "data": None,
    }
    if data:
        result["data"] = describe_data(reading.read(data))
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


def describe_model(name: str, loading: LoadingOptions) -> dict[str, Any]:
    """What probing needs to know about a model.

    Raises:
        ModelError: it cannot be loaded, or no family fits it.
    """
    from halfv_core.families import family_of, parts_of

    model = loading.load(name).model
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


def describe_data(samples: "Samples") -> dict[str, Any]:
    """How data are read: columns, counts, and what a model would be asked."""
    from probe.data.images import image_name, open_image

    shown = next((sample for sample in samples if _opens(sample)), samples[0])  # if none does, say why not
    return {
        "samples": len(samples),
        "rejected": [str(row) for row in samples.rejected],
        "columns": samples.columns.given(),
        "families": dict(Counter(sample.family or "none" for sample in samples).most_common()),
        "multiple_choice": sum(bool(sample.choices) for sample in samples),
        "without_answer": sum(sample.answer is None for sample in samples),
        "example": {
            "id": shown.id,
            "images": [f"{image_name(picture)} {_size(open_image(picture))}" for picture in shown.images],
            "prompt": shown.prompt,
            "answers": list(shown.answers),
        },
    }


def _opens(sample: "Sample") -> bool:
    from halfv_core.errors import DataError

    try:
        sample.open_images()
    except DataError:
        return False
    return True


def _size(image: "Image.Image") -> str:
    return "{}x{} px".format(*image.size)


def show(result: dict[str, Any]) -> None:
    """The same for people."""
    from rich.table import Table

    table = Table("what", "found", "tested with", box=None, pad_edge=False)
    table.add_row("python", result["python"], TESTED_PYTHON)
    for name, versions in result["packages"].items():
        table.add_row(name, versions["installed"] or "[red]not installed[/red]", versions["tested"])
    stdout.print(table)
    stdout.print(f"devices: {', '.join(result['devices'])}", markup=False, highlight=False)
    if result["data"]:
        show_data(result["data"])
    if result["model"]:
        stdout.print("the model can be probed:", highlight=False)
        for key, value in result["model"].items():
            stdout.print(f"  {key.replace('_', ' ')}: {value}", markup=False, highlight=False)


def show_data(data: dict[str, Any]) -> None:
    """What was read, for people; data may hold markup, which is shown and not obeyed."""

    def say(line: str) -> None:
        stdout.print(line, markup=False, highlight=False, soft_wrap=True)

    say(f"the data can be read: {data['samples']} samples, {len(data['rejected'])} rows rejected")
    say("  columns: " + ", ".join(f"{field} = {name}" for field, name in data["columns"].items()))
    say("  families: " + ", ".join(f"{name} {count}" for name, count in data["families"].items()))
    say(f"  multiple choice: {data['multiple_choice']}, without a reference answer: {data['without_answer']}")
    say(f"  for example {data['example']['id']}, with {', '.join(data['example']['images'])}:")
    for line in [
        *data["example"]["prompt"].splitlines(),
        f"-> {' | '.join(data['example']['answers']) or 'no reference'}",
    ]:
        say(f"    {line}")
