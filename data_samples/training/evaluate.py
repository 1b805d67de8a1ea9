"""Accuracy of a shipped model on shipped scenes: real files, image processor, chat template and greedy generate().

    python -m data_samples.training.evaluate --model data_samples/models/tiny-qwen2.5-vl

Prints a Markdown table by family (the one in the model card), then one line of JSON.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from PIL import Image
from rich.console import Console
from rich.progress import track

from halfv_core.models import LoadedModel, load_model

SCENES = Path(__file__).parents[1] / "scenes"
ANSWER_TOKENS = 8


@dataclass(frozen=True)
class Score:
    """Result of one family; `chance` is what always giving its most common answer would reach."""

    hits: int
    count: int
    chance: float

    @property
    def accuracy(self) -> float:
        return self.hits / self.count


def read_samples(listing: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in listing.read_text(encoding="utf-8").splitlines()]


@torch.no_grad()
def answer(loaded: LoadedModel, image: Image.Image, question: str) -> str:
    """The greedy answer, as text."""
    inputs: Any = loaded.processor.prompt([image], question)
    generate: Any = loaded.model.generate
    out = generate(**inputs, max_new_tokens=ANSWER_TOKENS, do_sample=False)  # (1, N + answer)
    return loaded.processor.decode(out[0, inputs["input_ids"].shape[1] :]).lower()


def answer_all(loaded: LoadedModel, listing: Path, rows: Sequence[dict[str, str]]) -> list[str]:
    """Answers to rows of a listing, progress on stderr."""
    given = []
    for row in track(rows, console=Console(stderr=True), description="answering"):
        with Image.open(listing.parent / row["image"]) as image:
            given.append(answer(loaded, image.convert("RGB"), row["question"]))
    return given


def score(samples: list[dict[str, str]], given: list[str]) -> dict[str, Score]:
    scores = {}
    for family in dict.fromkeys(sample["family"] for sample in samples):
        pairs = [(s["answer"], text) for s, text in zip(samples, given, strict=True) if s["family"] == family]
        most_common = Counter(truth for truth, _ in pairs).most_common(1)[0][1]
        scores[family] = Score(sum(truth == text for truth, text in pairs), len(pairs), most_common / len(pairs))
    return scores


def table(scores: dict[str, Score]) -> str:
    rows = ["| family | accuracy | n | chance |", "|---|---|---|---|"]
    rows += [f"| {name} | {s.accuracy:.3f} | {s.count} | {s.chance:.3f} |" for name, s in scores.items()]
    mean = sum(s.accuracy for s in scores.values()) / len(scores)
    return "\n".join([*rows, f"| mean over families | {mean:.3f} | {sum(s.count for s in scores.values())} | |"])


def main(
    model: Annotated[Path, typer.Option(help="Folder of a checkpoint.")],
    samples: Annotated[Path, typer.Option(help="A .jsonl listing.")] = SCENES / "heldout.jsonl",
    threads: int = 1,
) -> None:
    torch.set_num_threads(threads)
    rows = read_samples(samples)
    scores = score(rows, answer_all(load_model(str(model), device="cpu"), samples, rows))
    typer.echo(table(scores))
    typer.echo(json.dumps({name: round(s.accuracy, 4) for name, s in scores.items()}))


if __name__ == "__main__":
    typer.run(main)
