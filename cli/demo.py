"""`halfv-probe demo`: the whole path on a bundled model, offline: calibrate, report, answer with and without the plan.

halfv-probe demo
halfv-probe demo --model tiny-llava --output runs/tiny-llava
"""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from cli.common import JsonOption, given_arguments, load_quietly, print_json, progress_bar, stdout, writing


def demo(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="A bundled model; see `halfv-probe models`.")] = "tiny-qwen2.5-vl",
    output: Annotated[Path, typer.Option(help="Folder for the profile, the report and the results.")] = Path(
        "runs/demo"
    ),
    samples: Annotated[int, typer.Option(help="Scenes to calibrate on; 400 are bundled.")] = 100,
    questions: Annotated[int, typer.Option(help="Held-out scenes to test the plan on; 300 are bundled.")] = 300,
    as_json: JsonOption = False,
) -> None:
    """Calibrate a bundled model on bundled scenes, and compare its answers with and without the plan."""
    from cli.demo_table import accuracy_table
    from cli.summary import summary_table
    from halfv_core.models import check_request
    from probe.calibration.settings import Settings
    from probe.data.draw import check_count
    from probe.demo import Files, run_demo

    check_request(model)
    Settings.from_user(samples=samples)
    check_count(questions)
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
    loaded = load_quietly(model, "auto", "auto", False)
    with progress_bar() as on_progress, writing(output):
        result = run_demo(
            loaded,
            output,
            samples=samples,
            questions=questions,
            arguments={name: value for name, value in given_arguments(context).items() if name == "samples"},
            on_progress=on_progress,
        )
    if as_json:
        print_json(result.results())
        return
    files = Files.of(output)
    model_options = ["--model", model, "--profile", files.profile, "--compare"]
    question_options = ["--image", files.scene, "--prompt", result.scene.prompt]
    stdout.print(summary_table(result.profile))
    stdout.print(accuracy_table(result))
    for line in (
        f"profile: {files.profile}",
        f"report:  {files.report}",
        f"results: {files.results}",
        f"try:     {shlex.join(['halfv-probe', 'generate', *map(str, model_options + question_options)])}",
    ):
        stdout.print(line, markup=False, highlight=False, soft_wrap=True)
