"""Builds the shipped scenes: 400 calibration and 300 held-out samples, one picture and one question each.

    python -m data_samples.making.scenes --out data_samples/scenes --seed 0

The same seed rebuilds every file; manifest.json has their hashes. Training draws from other scenes (see content.py).
"""

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Annotated, NamedTuple

import PIL
import typer
from PIL import Image

from data_samples.making.generator.content import Bucket, Difficulty, Scene, scenes
from data_samples.making.generator.drawing import draw
from data_samples.making.generator.questions import Question, ask

VERSION = 2
SIZES: dict[Bucket, int] = {"calibration": 400, "heldout": 300}
SHIPPED = ("existence", "attribute", "place", "where", "counting", "relation", "reading")


class Sample(NamedTuple):
    """A picture, and a question about it."""

    id: str
    scene: Scene
    image: Image.Image
    question: Question


def _sample(name: str, family: str, bucket: Bucket, refused: str, rng: Random) -> Sample:
    """Scenes of the bucket are drawn until one allows a question of this family whose answer is not `refused`."""
    difficulty = replace(Difficulty(), text_share=1.0) if family == "reading" else Difficulty()
    for scene in scenes(rng, difficulty, bucket):
        question = ask(family, scene, rng)
        if question and question.answer != refused:
            return Sample(name, scene, draw(scene, rng).image, question)
    raise AssertionError("scenes never end")


def build_samples(bucket: Bucket, seed: int) -> list[Sample]:
    """Families take turns, and in each of them "yes" and "no", so that every leading part of the set is balanced."""
    rng = Random(f"{seed}/{bucket}")
    samples = []
    for k in range(SIZES[bucket]):
        turn, place = divmod(k, len(SHIPPED))
        samples.append(_sample(f"{bucket}-{k:03d}", SHIPPED[place], bucket, ("no", "yes")[turn % 2], rng))
    return samples


def _write(samples: list[Sample], bucket: Bucket, out: Path) -> list[Path]:
    """Pictures and the JSONL that lists them."""
    listing = out / f"{bucket}.jsonl"
    lines, written = [], [listing]
    for sample in samples:
        path = out / "images" / f"{sample.id}.png"
        sample.image.save(path, optimize=True)
        written.append(path)
        question = {"question": sample.question.text, "answer": sample.question.answer}
        row = {"id": sample.id, "image": f"images/{path.name}", **question, "family": sample.question.family}
        lines.append(json.dumps(row) + "\n")
    listing.write_text("".join(lines), encoding="utf-8")
    return written


def build(out: Path, seed: int) -> dict[Bucket, list[Sample]]:
    """Write both sets and the manifest; what was written is returned, too."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    built = {bucket: build_samples(bucket, seed) for bucket in SIZES}
    written = [path for bucket, samples in built.items() for path in _write(samples, bucket, out)]
    manifest = {
        "generator": "data_samples.making.scenes",
        "version": VERSION,
        "seed": seed,
        "licence": "CC0-1.0",
        "pillow": PIL.__version__,
        "counts": {bucket: dict(Counter(s.question.family for s in samples)) for bucket, samples in built.items()},
        "sha256": {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(written)},
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return built


def main(out: Annotated[Path, typer.Option(help="Folder to write.")], seed: int = 0) -> None:
    build(out, seed)
    typer.echo(f"{sum(SIZES.values())} samples written to {out}")


if __name__ == "__main__":
    typer.run(main)
