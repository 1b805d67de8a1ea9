"""The whole path on the bundled model, offline: calibrate, report, and compare with and without the plan.

    make demo

Writes profile.json, report.html and results.json into runs/demo.
"""

import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.table import Table

from cli.common import load_quietly, progress_bar, stdout
from cli.summary import summary_table
from halfv_core import Plan, Profile
from halfv_core.models import LoadedModel
from halfv_core.profile import write_atomically
from probe import calibrate, load_samples
from probe.evaluate import Evaluation, evaluate
from probe.progress import counter
from probe.report import write_report

MODEL = "tiny-qwen2.5-vl"
OUTPUT = Path("runs/demo")


def main() -> None:
    """Calibrate on the 100 calibration scenes, then answer the 300 held-out ones twice."""
    loaded = load_quietly(MODEL, "auto", "auto", False)
    with progress_bar() as on_progress:
        profile = calibrate(
            loaded.model,
            loaded.processor,
            load_samples("scenes"),
            model_id=MODEL,
            data="scenes",
            on_progress=on_progress,
        )
    profile.save(OUTPUT / "profile.json")
    write_report(profile, OUTPUT / "report.html")
    stdout.print(summary_table(profile))
    full, fast = answer_held_out(loaded, profile)
    stdout.print(accuracy_table(full, fast))
    results = as_data(full, fast)
    write_atomically(OUTPUT / "results.json", json.dumps(results, indent=1) + "\n")
    stdout.print(f"profile, report and results: {OUTPUT}/", highlight=False)
    stdout.print(json.dumps(results), soft_wrap=True, markup=False, highlight=False)


def answer_held_out(loaded: LoadedModel, profile: Profile) -> tuple[Evaluation, Evaluation]:
    """The held-out scenes under no plan and under the profile's."""
    samples = load_samples("scenes-heldout")
    found = []
    with progress_bar() as on_progress:
        for step, plan in (("full model", Plan(())), ("accelerated", profile)):
            found.append(
                evaluate(
                    loaded.model,
                    loaded.processor,
                    samples,
                    plan,
                    on_sample=counter(on_progress, step, len(samples)),
                )
            )
    return found[0], found[1]


def accuracy_table(full: Evaluation, fast: Evaluation) -> Table:
    """Accuracy by family, and what the plan saves."""
    table = Table(box=None, title=f"{len(full.correct)} held-out scenes")
    table.add_column("family")
    for name in ("full model", "accelerated"):
        table.add_column(name, justify="right")
    for family, accuracy in full.accuracy.items():
        table.add_row(family, f"{accuracy:.3f}", f"{fast.accuracy[family]:.3f}")
    table.add_section()
    table.add_row("mean", f"{full.mean:.3f}", f"{fast.mean:.3f}", style="bold")
    table.add_row("retention", "", f"{fast.mean / full.mean:.1%}")
    table.add_row("prefill FLOPs", "", f"{fast.flops_ratio:.2f}x fewer")
    table.add_row("KV cache", "", f"{fast.kv_ratio:.2f}x smaller")
    return table


def as_data(full: Evaluation, fast: Evaluation) -> dict[str, Any]:
    """The same, with what it was measured on."""
    return {
        "model": MODEL,
        "samples": len(full.correct),
        "accuracy_full": full.mean,
        "accuracy_accelerated": fast.mean,
        "retention": fast.mean / full.mean,
        "flops_ratio": fast.flops_ratio,
        "kv_ratio": fast.kv_ratio,
        "by_family": {family: [full.accuracy[family], fast.accuracy[family]] for family in full.accuracy},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "date": datetime.now(UTC).date().isoformat(),
    }


if __name__ == "__main__":
    main()
