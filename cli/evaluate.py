"""`halfv-probe evaluate`: benefit and cost of each part of a profile's plan, measured against reference answers.

halfv-probe evaluate --model qwen2.5-vl-7b --profile profile.json --data my-questions.csv
"""

from pathlib import Path
from typing import Annotated

import typer

from cli.common import (
    JsonOption,
    given_arguments,
    journal_path,
    print_json,
    progress_bar,
    stderr,
    stdout,
    writing,
)
from cli.data_options import DataOption, ReadingOptions, print_frames, print_rejected
from cli.interrupts import resumable
from cli.model_options import LoadingOptions, ModelOption
from cli.outputs import Output, prepare
from cli.plan_options import MethodOptions
from cli.ranks import saving, sharing


def evaluate(
    context: typer.Context,
    *,
    model: ModelOption,
    profile: Annotated[Path, typer.Option(help="Made by `halfv-probe calibrate` for this model.")],
    data: DataOption = "scenes-heldout",
    reading: ReadingOptions,
    samples: Annotated[int, typer.Option(help="Samples to draw from those with a reference answer.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw and of the bootstrap.")] = 0,
    output: Annotated[Path, typer.Option(help="Where the record goes.")] = Path("evaluation.json"),
    variant: Annotated[
        list[str] | None, typer.Option(help="ivr, ssr, ivr+ssr or wrong_ssr, repeatable. [default: all]")
    ] = None,
    published: MethodOptions,
    grading: Annotated[str, typer.Option(help="auto (each sample's own), exact, soft or letter.")] = "auto",
    max_new_tokens: Annotated[int, typer.Option(min=1, max=1_000_000, help="Longest answer.")] = 32,
    loading: LoadingOptions,
    as_json: JsonOption = False,
) -> None:
    """Compare the full model, each part of the plan, the whole plan, and the wrong treatment of Stage III."""
    from cli.evaluate_table import ablation_table, remarks
    from halfv_core import Profile
    from probe.data.draw import check_count, draw_readable
    from probe.evaluation.ablation import ablate
    from probe.evaluation.evaluate import with_references
    from probe.evaluation.grading import as_grading
    from probe.evaluation.variants import variants_of

    journal = journal_path(output)
    prepare([Output("--output", output, beside=(journal,))], [profile, data])
    chosen = as_grading(grading)
    published.check()
    loaded_profile = Profile.load(profile)
    variants = variants_of(loaded_profile).only(tuple(variant or ()))
    check_count(samples)
    data_parallel = sharing(loading.device, loading.tensor_parallel)
    loading.check(model)
    available = reading.read(data)
    answered = with_references(available)
    if len(answered) < len(available):
        stderr.print(
            f"{len(available) - len(answered)} of {len(available)} samples have no reference answer and are left out"
        )
    drawn, unreadable = draw_readable(answered, samples, seed)
    print_rejected(unreadable, len(drawn) + len(unreadable))
    loaded = loading.load(model)
    print_frames(loaded.processor, drawn)
    expected = loaded_profile.expected
    tokens = round(expected.visual_tokens), round(expected.text_tokens)
    plan = published.plan(loaded.model.config, *tokens, loaded_profile)
    if plan is not None and published.method is not None:
        variants = variants._replace(plans=variants.plans | {published.method: plan})
    with progress_bar() as on_progress, writing(journal), resumable(journal):
        ablation = ablate(
            loaded.model,
            loaded.processor,
            drawn,
            loaded_profile,
            variants=variants,
            grading=chosen,
            max_new_tokens=max_new_tokens,
            seed=seed,
            model_id=model,
            profile_id=str(profile),
            data=data,
            arguments=given_arguments(context),
            journal=journal,
            on_progress=on_progress,
            data_parallel=data_parallel,
        )
    with saving(output, journal) as is_first:
        if not is_first:
            return
        ablation.save(output)
    if as_json:
        print_json(ablation.model_dump(mode="json"))
        return
    stdout.print(ablation_table(ablation))
    for remark in remarks(ablation):
        stdout.print(remark, markup=False, highlight=False)
    stdout.print(f"record: {output}", markup=False, highlight=False)
