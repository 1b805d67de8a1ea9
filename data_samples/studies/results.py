"""All bundled models side by side: calibrate each, compare each with and without its plan, print the table.

    make results

Writes a folder for each model into runs/results, and what is shipped: data_samples/results.json, which the
tables in README.md and docs/results.md come from, and a profile for each model in data_samples/profiles, with its
observations.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cli.common import load_quietly, progress_bar, stdout
from data_samples.studies.tables import markdown
from halfv_core.bundled import BUNDLED
from halfv_core.models import bundled_models
from halfv_core.profile import write_atomically
from probe.calibration.observations import beside
from probe.demo import Demo, run_demo

OUTPUT = Path("runs/results")
RESULTS = BUNDLED / "results.json"
PROFILES = BUNDLED / "profiles"


def main() -> None:
    found = [_demo(model) for model in bundled_models()]
    for one in found:
        path = PROFILES / f"{one.model}.json"
        one.observations.save(beside(path))
        one.profile.save(path)
    results = [one.results() for one in found]
    write_atomically(RESULTS, json.dumps(results, indent=1) + "\n")
    for table in (models_table(results), families_table(results)):
        stdout.print(table, soft_wrap=True, markup=False, highlight=False)
    for one in results:
        stdout.print(f"{one['model']}: {one['saturation_reason']}", soft_wrap=True, markup=False, highlight=False)
    minutes = sum(one["seconds"] for one in results) / 60
    stdout.print(f"profiles and reports after {minutes:.1f} minutes: {OUTPUT}/", highlight=False)


def _demo(model: str) -> Demo:
    loaded = load_quietly(model, "auto", "auto", False)
    with progress_bar() as on_progress:
        return run_demo(loaded, OUTPUT / model, on_progress=on_progress)


def models_table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: a column for each model, what was decided and what it brings."""
    rows = {
        "visual tokens of a scene": lambda one: f"{one['visual_tokens']:.0f}",
        "Stage II begins at": lambda one: _layer(one["aggregation_start"]),
        "Stage III begins at": lambda one: _layer(one["saturation_start"]),
        "saturation type": lambda one: f"`{one['saturation_type']}`",
        "plan": lambda one: "; ".join(map(_in_short, one["plan"])),
        "held-out accuracy, full model": lambda one: f"{one['accuracy_full']:.3f}",
        "held-out accuracy under the plan": lambda one: f"{one['accuracy_accelerated']:.3f}",
        "retention": lambda one: f"{one['retention']:.1%}",
        "estimated by the calibration": lambda one: f"{one['retention_estimated']:.1%}",
        "proven with 90 % confidence": lambda one: f"at least {one['retention_proven']:.1%}",
        "proven to keep 97 %": lambda one: _proven(one["proven_flops_ratio"]),
        "prefill FLOPs of the decoder": lambda one: f"{one['flops_ratio']:.2f}x fewer",
        "KV cache": lambda one: f"{one['kv_ratio']:.2f}x smaller",
    }
    return _markdown(results, {name: [cell(one) for one in results] for name, cell in rows.items()})


def families_table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: a row for each question family, accuracy of each model without and with its plan."""
    families = results[0]["by_family"]
    return _markdown(
        results, {name: ["{:.3f} / {:.3f}".format(*one["by_family"][name]) for one in results] for name in families}
    )


def _in_short(intervention: str) -> str:
    """An intervention in words, without the selector's options and without what it is about."""
    return re.sub(r" \([^)]*\)| of the visual tokens| the visual tokens| visual tokens", "", intervention)


def _proven(ratio: float | None) -> str:
    return "no plan" if ratio is None else f"a plan at {ratio:.2f}x"


def _layer(layer: int | None) -> str:
    return "never" if layer is None else f"layer {layer}"


def _markdown(results: Sequence[dict[str, Any]], rows: Mapping[str, Sequence[str]]) -> str:
    head = ["", *(f"`{one['model']}`" for one in results)]
    return markdown(head, [[name, *cells] for name, cells in rows.items()])


if __name__ == "__main__":
    main()
