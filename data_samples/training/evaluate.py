"""Accuracy of a shipped model on shipped scenes: real files, image processor, chat template and greedy generate().

    python -m data_samples.training.evaluate --model data_samples/models/tiny-qwen2.5-vl

Prints a Markdown table by family (the one in the model card), then one line of JSON.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer
from PIL import Image
from rich.console import Console
from rich.progress import track
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

SCENES = Path(__file__).parents[1] / "scenes"
ANSWER_TOKENS = 8


class Loaded(NamedTuple):
    """A checkpoint and what prepares its inputs."""

    model: Any
    tokenizer: Any
    image_processor: Any


@dataclass(frozen=True)
class Score:
    """Result of one family; `chance` is what always giving its most common answer would reach."""

    hits: int
    count: int
    chance: float

    @property
    def accuracy(self) -> float:
        return self.hits / self.count


def load(folder: Path) -> Loaded:
    model: Any = AutoModelForImageTextToText.from_pretrained(folder)
    processors: Any = AutoImageProcessor
    return Loaded(
        model.eval(), AutoTokenizer.from_pretrained(folder), processors.from_pretrained(folder, backend="pil")
    )


def read_samples(listing: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in listing.read_text(encoding="utf-8").splitlines()]


def prepare(loaded: Loaded, image: Image.Image, question: str) -> dict[str, torch.Tensor]:
    """Model inputs of one question; the placeholder becomes one token per merged patch, as a full processor does it."""
    content = [{"type": "image"}, {"type": "text", "text": question}]
    frame = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    pixels = loaded.image_processor(images=[image], return_tensors="pt")
    tokens = int(pixels["image_grid_thw"].prod()) // loaded.image_processor.merge_size**2
    placeholder = loaded.tokenizer.convert_ids_to_tokens(loaded.model.config.image_token_id)
    inputs = loaded.tokenizer(frame.replace(placeholder, placeholder * tokens), return_tensors="pt")
    kinds = (inputs["input_ids"] == loaded.model.config.image_token_id).int()  # (1, N)
    return {**pixels, "mm_token_type_ids": kinds} | {k: inputs[k] for k in ("input_ids", "attention_mask")}


@torch.no_grad()
def answer(loaded: Loaded, image: Image.Image, question: str) -> str:
    """The greedy answer, as text."""
    inputs = prepare(loaded, image, question)
    out = loaded.model.generate(**inputs, max_new_tokens=ANSWER_TOKENS, do_sample=False)
    text: str = loaded.tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return text.strip().lower()


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
    loaded, rows = load(model), read_samples(samples)
    progress = track(rows, console=Console(stderr=True), description="answering")
    given = [answer(loaded, Image.open(samples.parent / row["image"]), row["question"]) for row in progress]
    scores = score(rows, given)
    typer.echo(table(scores))
    typer.echo(json.dumps({name: round(s.accuracy, 4) for name, s in scores.items()}))


if __name__ == "__main__":
    typer.run(main)
