"""`halfv-probe generate`: answer a question about images or videos, with or without a plan, or both ways side by side.

halfv-probe generate --model qwen2.5-vl-7b --image cat.jpg --prompt "What is this?" --profile profile.json --compare
halfv-probe generate --model qwen2.5-vl-7b --image cat.jpg --prompt "What is this?" --method fastv --flops 2
halfv-probe generate --model qwen2.5-vl-7b --video jump.mp4 --frames 16 --prompt "What happens?"
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.common import JsonOption, print_json, stderr, stdout
from cli.data_options import FRAMES, FramesOption
from cli.model_options import LoadingOptions, ModelOption
from cli.plan_options import MethodOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from halfv_core import Plan, Profile
    from halfv_core.models import LoadedModel


def generate(
    *,
    model: ModelOption,
    image: Annotated[list[Path] | None, typer.Option(help="Image file; may be repeated.")] = None,
    video: Annotated[
        list[Path] | None, typer.Option(help="Video file, or folder of its frames; may be repeated.")
    ] = None,
    frames: FramesOption = FRAMES,
    prompt: Annotated[str, typer.Option(help="The question.")],
    profile: Annotated[
        Path | None, typer.Option(help="Run under this profile; with --method, take what it has measured.")
    ] = None,
    published: MethodOptions,
    compare: Annotated[bool, typer.Option("--compare", help="Run without the plan too.")] = False,
    max_new_tokens: Annotated[int, typer.Option(min=1, max=1_000_000, help="Longest answer.")] = 128,
    loading: LoadingOptions,
    as_json: JsonOption = False,
) -> None:
    """Answer a question about images or videos."""
    from halfv_core import HalfVError, Plan, Profile
    from halfv_core.placement import device_of
    from probe.data.images import open_image
    from probe.data.inputs import FRAMES_AS_IMAGES
    from probe.data.videos import video_at
    from probe.trials.proofs import admit

    published.check()
    if compare and profile is None and published.method is None:
        raise HalfVError("--compare has nothing to compare with", remedy="add --profile profile.json")
    loading.check(model)
    loaded_profile = Profile.load(profile) if profile else None
    if not image and not video:
        raise HalfVError("nothing to ask about", expected="--image or --video")
    images = [open_image(path) for path in image or ()]
    videos = [video_at(path, frames).open() for path in video or ()]
    loaded = loading.load(model)
    admit(loaded.model, loaded.processor)
    if videos and not loaded.processor.takes_videos:
        stderr.print(FRAMES_AS_IMAGES, markup=False, highlight=False)
    inputs = loaded.processor.prompt(images, prompt, device_of(loaded.model), videos)
    visual = _visual_tokens(loaded.model, inputs)
    plan = published.plan(loaded.model.config, visual, inputs["input_ids"].numel() - visual, loaded_profile)
    result: dict[str, Any] = {}
    accelerated = plan or loaded_profile
    if accelerated is None or compare:
        result["full"] = _answer(loaded, inputs, Plan(()), max_new_tokens)
    if accelerated is not None:
        result["accelerated"] = _answer(loaded, inputs, accelerated, max_new_tokens)
    if as_json:
        print_json(result)
    else:
        _show(result)


def _visual_tokens(model: "PreTrainedModel", inputs: dict[str, Any]) -> int:
    from halfv_core.families import parts_of

    return sum(int((inputs["input_ids"] == visual).sum()) for visual in parts_of(model).visual_ids)


def _answer(
    loaded: "LoadedModel", inputs: dict[str, Any], plan: "Plan | Profile", max_new_tokens: int
) -> dict[str, Any]:
    from halfv_core import apply
    from probe.trials.answers import greedy_answer

    with apply(loaded.model, plan) as run:
        started = time.perf_counter()
        ids = greedy_answer(loaded.model, inputs, max_new_tokens)
        seconds = time.perf_counter() - started
    return {
        "answer": loaded.processor.decode(ids),
        "tokens": len(ids),
        "seconds": seconds,
        "flops_ratio": run.cost.flops_ratio,
        "kv_ratio": run.cost.kv_ratio,
        "kept": {str(layer): len(rows[0]) for layer, rows in run.kept.items()},
    }


def _show(result: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    if len(result) == 1:
        stdout.print(next(iter(result.values()))["answer"], markup=False, highlight=False)
        return
    table = Table("run", "answer", "prefill FLOPs", "KV cache", "visual tokens kept", box=None)
    for name, run in result.items():
        kept = ", ".join(f"{count} from layer {layer}" for layer, count in run["kept"].items()) or "all"
        ratios = [f"{run[key]:.2f}x fewer" if run[key] > 1 else "all" for key in ("flops_ratio", "kv_ratio")]
        table.add_row(name, escape(run["answer"]), *ratios, kept)
    stdout.print(table)
