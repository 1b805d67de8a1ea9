"""Writes a trained model as a folder that loads like any hub checkpoint.

    python -m data_samples.making.training.export --config tiny-llava --work DIR --out data_samples/models/tiny-llava

It takes the newest checkpoint in DIR, finished or not.
"""

from pathlib import Path
from typing import Annotated

import typer
from transformers import GenerationConfig

from data_samples.making.training.answers import Answers
from data_samples.making.training.config import read_settings
from data_samples.making.training.learner import Learner, build_learner
from data_samples.making.training.loop import load_tensors


def export(learner: Learner, out: Path) -> None:
    """Weights, configs, tokenizer with chat template, and image processor."""
    special = {f"{name}_token_id": getattr(learner.tokenizer, f"{name}_token_id") for name in ("eos", "pad")}
    learner.model.generation_config = GenerationConfig(do_sample=False, **special)
    learner.model.save_pretrained(out)
    if learner.family.processor:
        values, images, tokenizer = learner.settings.values, learner.image_processor, learner.tokenizer
        learner.family.processor(values, images, tokenizer).save_pretrained(out)
    else:
        learner.tokenizer.save_pretrained(out)
        learner.image_processor.save_pretrained(out)


def main(
    config: Annotated[str, typer.Option(help="Name of a file in training/configs.")],
    work: Annotated[Path, typer.Option(help="Folder of the training run.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
) -> None:
    learner = build_learner(read_settings(config))
    state = load_tensors(work / "answer.pt")
    Answers(learner).modules.load_state_dict(state["modules"])
    export(learner, out)
    typer.echo(f"step {state['step']} written to {out}")


if __name__ == "__main__":
    typer.run(main)
