"""`halfv-probe doctor`: packages, devices, a proof that a model can be probed, and how data are read.

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

    from halfv_core.clips import Clip
    from halfv_core.processors import PromptProcessor
    from probe.data.samples import Sample, Samples

TESTED_PYTHON = "3.11"
TESTED = {
    "torch": "2.13.0",
    "transformers": "5.23.0",
    "nnsight": "0.8.1",
    "plotly": "7.1.0",
    "pydantic": "2.14.3",
}
"""Package -> version with which the tests passed, as in constraints.txt."""


def doctor(
    *,
    model: Annotated[str | None, typer.Option(help="Also load this model and prove that it can be probed.")] = None,
    data: Annotated[str | None, typer.Option(help="Also read this data set and show what its columns mean.")] = None,
    reading: ReadingOptions,
    loading: LoadingOptions,
    as_json: JsonOption = False,
) -> None:
    """Show versions, devices, with --model what was proved on that model, with --data how those data are read."""
    if model is not None:
        loading.check(model)
    result: dict[str, Any] = {
        "python": platform.python_version(),
        "packages": {name: {"installed": installed(name), "tested": tested} for name, tested in TESTED.items()},
        "devices": list(devices()),
        "model": None if model is None else describe_model(model, loading),
        "data": None,
    }
    if data is not None:
        result["data"] = describe_data(reading.read(data))
    if as_json:
        print_json(result)
    else:
        show(result)
    if result["model"]:
        check_proved(result["model"])


def installed(package: str) -> str | None:
    """The version of an installed package without its build suffix; None if it is not installed."""
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return None


def devices() -> list[str]:
    """The devices that torch can use."""
    import torch

    names = [f"cpu ({torch.get_num_threads()} threads)"]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        names.append(f"cuda:{index} ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)")
    return names + (["mps"] if torch.backends.mps.is_available() else [])


def describe_model(name: str, loading: LoadingOptions) -> dict[str, Any]:
    """The properties of a model that matter for probing, and what is proved about it on a drawn image.

    Raises:
        ModelError: the model cannot be loaded, or no family fits it.
        DataError: its processor cannot prepare the image.
    """
    from halfv_core.families import admission, family_of, parts_of
    from halfv_core.placement import device_of, offloaded_share
    from halfv_core.quantising import numbers_of
    from probe.trials.proofs import prove

    model, processor, _ = loading.load(name)
    parts = parts_of(model)
    checks = list(prove(model, processor))
    if not parts.is_tested and all(check.passed for check in checks):
        admission.admit(parts.pair)
    return {
        "name": name,
        "family": family_of(model).name,
        "classes": f"{parts.pair.model}, {parts.pair.decoder}" + ("" if parts.is_tested else ", by proof alone"),
        "layers": len(parts.layers),
        "visual_token_ids": list(parts.visual_ids),
        "attention": model.config.get_text_config()._attn_implementation,
        "dtype": numbers_of(model),
        "device": str(device_of(model)),
        "parameters": model.num_parameters(),
        "offloaded": f"{offloaded_share(model):.0%} of the weights",
        "image_processor": _image_processor(processor),
        "videos": "as videos" if processor.takes_videos else "as images, frame by frame",
        "checks": [check.model_dump(mode="json") for check in checks],
    }


def _image_processor(processor: "PromptProcessor") -> str:
    """Its class, and what resizes the images, if it says so."""
    name, backend = type(processor.backend.image_processor).__name__, processor.image_backend()
    return f"{name} (resizes with {backend})" if backend else name


def check_proved(model: dict[str, Any]) -> None:
    """Raise RunError if one of the model's checks failed."""
    from halfv_core.errors import RunError

    failed = [check for check in model["checks"] if not check["passed"]]
    if failed:
        raise RunError(
            f"{model['name']} cannot be probed as it was loaded, since it failed: {failed[0]['name']}",
            got=failed[0]["found"],
            remedy="try --dtype float32 and --device cpu; if it fails there too, the checkpoint is damaged",
        )


def describe_data(samples: "Samples") -> dict[str, Any]:
    """How the data are read: columns, counts, and an example of a prompt."""
    from halfv_core.interleaving import has_places, in_words
    from probe.data.images import image_name, open_image

    example = next(
        (sample for sample in samples if _opens(sample)), samples[0]
    )  # if none opens, show the error of the first
    return {
        "samples": len(samples),
        "rejected": [str(row) for row in samples.rejected],
        "columns": samples.columns.given(),
        "families": dict(Counter(sample.family or "none" for sample in samples).most_common()),
        "notes": list(samples.notes),
        "multiple_choice": sum(bool(sample.choices) for sample in samples),
        "answers_are": samples.answers,
        "interleaved": sum(has_places(sample.text) for sample in samples),
        "without_answer": sum(sample.answer is None for sample in samples),
        "example": {
            "id": example.id,
            "images": [f"{image_name(picture)} {_size(open_image(picture))}" for picture in example.images],
            "videos": [f"{video.name} {_length(video.open())}" for video in example.videos],
            "prompt": in_words(example.text),
            "answers": list(example.answers),
        },
    }


def _opens(sample: "Sample") -> bool:
    from halfv_core.errors import DataError

    try:
        sample.open()
    except DataError:
        return False
    return True


def _size(image: "Image.Image") -> str:
    return "{}x{} px".format(*image.size)


def _length(clip: "Clip") -> str:
    return f"{len(clip.frames)} of {clip.total} frames, {clip.total / clip.fps:.1f} s, {_size(clip.frames[0])}"


def show(result: dict[str, Any]) -> None:
    """Print the result as text."""
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
        show_model(result["model"])


def show_model(model: dict[str, Any]) -> None:
    """Print as text what a model is, and what was proved about it."""
    from rich.markup import escape
    from rich.table import Table

    checks = model["checks"]
    proved = all(check["passed"] for check in checks)
    stdout.print("the model can be probed:" if proved else "the model cannot be probed:", highlight=False)
    for key, value in model.items():
        if key != "checks":
            stdout.print(f"  {key.replace('_', ' ')}: {value}", markup=False, highlight=False)
    table = Table("proved on a drawn image", "", "found", box=None, pad_edge=False)
    for check in checks:
        table.add_row(check["name"], "yes" if check["passed"] else "[red]no[/red]", escape(check["found"]))
    stdout.print(table)


def show_data(data: dict[str, Any]) -> None:
    """Print as text how the data are read; markup in the data is shown as it is."""

    def print_line(line: str) -> None:
        stdout.print(line, markup=False, highlight=False, soft_wrap=True)

    print_line(f"the data can be read: {data['samples']} samples, {len(data['rejected'])} rows rejected")
    print_line("  columns: " + ", ".join(f"{field} = {name}" for field, name in data["columns"].items()))
    print_line("  families: " + ", ".join(f"{name} {count}" for name, count in data["families"].items()))
    answers = f" (answers are {data['answers_are']})" if data["answers_are"] else ""
    print_line(
        f"  multiple choice: {data['multiple_choice']}{answers}, without a reference answer: {data['without_answer']}"
    )
    if data["interleaved"]:
        print_line(f"  images inside the text: {data['interleaved']}")
    shown = [*data["example"]["images"], *data["example"]["videos"]]
    print_line(f"  for example {data['example']['id']}, with {', '.join(shown)}:")
    for line in [
        *data["example"]["prompt"].splitlines(),
        f"-> {' | '.join(data['example']['answers']) or 'no reference'}",
    ]:
        print_line(f"    {line}")
