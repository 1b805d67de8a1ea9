"""What each part of the shipped plans brings: every bundled model on the held-out scenes, variant by variant.

    make ablation

The whole records, as `halfv-probe evaluate` writes them, go to runs/ablation; without the single answers they are
data_samples/ablation.json, which the table of docs/results.md comes from. A run that was stopped goes on where it was.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cli.common import load_quietly, progress_bar, stdout
from data_samples.studies.results import PROFILES
from data_samples.studies.tables import markdown
from halfv_core import Profile
from halfv_core.bundled import BUNDLED
from halfv_core.models import bundled_models
from halfv_core.profile import write_atomically
from probe import load_samples
from probe.evaluation.ablation import Ablation, ablate
from probe.evaluation.variants import FULL

DATA = "scenes-heldout"
OUTPUT = Path("runs/ablation")
ABLATION = BUNDLED / "ablation.json"

COLUMNS = (
    "model",
    "variant",
    "accuracy",
    "retention (95 %)",
    "log-likelihood, change (95 %)",
    "same answers",
    "FLOPs: visual, decoder, model",
    "KV cache",
    "first token",
)


def main() -> None:
    found = [_ablate(model) for model in bundled_models()]
    shipped = [as_data(one) for one in found]
    write_atomically(ABLATION, json.dumps(shipped, indent=1) + "\n")
    stdout.print(table(shipped), soft_wrap=True, markup=False, highlight=False)


def _ablate(model: str) -> Ablation:
    loaded = load_quietly(model, "auto", "auto", False)
    profile = PROFILES / f"{model}.json"
    journal = OUTPUT / f"{model}.json.unfinished"
    with progress_bar() as on_progress:
        found = ablate(
            loaded.model,
            loaded.processor,
            load_samples(DATA),
            Profile.load(profile),
            model_id=model,
            profile_id=profile.name,
            data=DATA,
            journal=journal,
            on_progress=on_progress,
        )
    found.save(OUTPUT / f"{model}.json")
    journal.unlink()
    return found


def as_data(found: Ablation) -> dict[str, Any]:
    """An ablation as JSON, without its answers."""
    return {"samples": len(found.comparisons)} | found.model_dump(mode="json", exclude={"comparisons"})


def table(shipped: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row for each model and variant."""
    rows = [
        [f"`{one['model_id']}`", f"`{name}`", f"{variant['accuracy']:.3f}", *_compared(name, variant)]
        for one in shipped
        for name, variant in one["variants"].items()
    ]
    return markdown(COLUMNS, rows)


def _compared(name: str, variant: Mapping[str, Any]) -> list[str]:
    """How a variant stands to the full model, which has nothing to be compared with."""
    if name == FULL:
        return ["-"] * (len(COLUMNS) - 3)
    flops = (variant[f"{name}flops_ratio"] for name in ("visual_", "", "model_"))
    return [
        f"{variant['retention']:.1%} ({_span(variant['retention_interval'], '.1%')})",
        f"{variant['log_likelihood_change']:+.3f} ({_span(variant['log_likelihood_interval'], '+.3f')})",
        f"{variant['agreement']:.1%}",
        ", ".join(f"{ratio:.2f}x" for ratio in flops),
        f"{variant['kv_ratio']:.2f}x",
        f"{variant['first_token_ratio']:.2f}x",
    ]


def _span(interval: Sequence[float] | None, form: str) -> str:
    return "-" if interval is None else " to ".join(f"{value:{form}}" for value in interval)


if __name__ == "__main__":
    main()
