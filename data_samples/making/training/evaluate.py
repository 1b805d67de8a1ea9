"""Accuracy of a shipped model on shipped scenes: real files, image processor, chat template and greedy generate().

    python -m data_samples.making.training.evaluate --model data_samples/models/tiny-qwen2.5-vl

Prints a Markdown table by family (the one in the model card), then one line of JSON.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import typer

from cli.common import load_quietly, progress_bar
from halfv_core import Plan
from probe import load_samples
from probe.common.progress import counter
from probe.data.samples import Sample
from probe.evaluation.evaluate import Evaluation, evaluate


def chance(samples: Sequence[Sample], family: str) -> float:
    """What always giving the family's most common answer would reach."""
    answers = Counter(sample.answer for sample in samples if sample.family == family)
    return max(answers.values()) / answers.total()


def markdown(samples: Sequence[Sample], found: Evaluation) -> str:
    """Accuracy, number of questions and chance level of each family."""
    rows = ["| family | accuracy | n | chance |", "|---|---|---|---|"]
    for family in dict.fromkeys(sample.family or "all" for sample in samples):
        count = sum(sample.family == family for sample in samples)
        rows.append(f"| {family} | {found.accuracy[family]:.3f} | {count} | {chance(samples, family):.3f} |")
    return "\n".join([*rows, f"| mean over families | {found.mean:.3f} | {len(samples)} | |"])


def main(
    model: Annotated[str, typer.Option(help="Folder of a checkpoint, or a bundled name.")],
    data: Annotated[str, typer.Option(help="A JSONL listing, or a bundled name.")] = "scenes-heldout",
) -> None:
    loaded = load_quietly(model, "auto", "cpu", False)
    samples = load_samples(data)
    with progress_bar() as report:
        found = evaluate(
            loaded.model,
            loaded.processor,
            samples,
            Plan(()),
            on_sample=counter(report, "answering", len(samples)),
        )
    typer.echo(markdown(samples, found))
    typer.echo(json.dumps({name: round(value, 4) for name, value in found.accuracy.items()}))


if __name__ == "__main__":
    typer.run(main)
