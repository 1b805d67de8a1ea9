"""The same prompts in a vLLM engine under the plugin and in transformers under `apply()`."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from halfv_core import Plan, Profile, apply
from tests.vllm.checkpoints import MODELS, checkpoint, original
from tests.vllm.engine import metadata

ROOT = Path(__file__).parents[2]
SCENES = ROOT / "data_samples" / "scenes"
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_ALLOW_INSECURE_SERIALIZATION": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
}
OPTIONS = {
    "enforce_eager": True,
    "kv_cache_memory_bytes": 2**30,
    "max_model_len": 1024,
    "max_num_seqs": 16,
    "mm_processor_cache_gb": 0,
}

Kept = dict[int, list[int]]


@dataclass(frozen=True)
class Ask:
    """A question about scenes of the held-out set, about the frames of one video, or about nothing."""

    question: str
    scenes: tuple[int, ...] = ()
    frames: tuple[str, ...] = ()
    bare: str = ""
    """The whole prompt, if it is not to be made by the chat template."""

    def task(self, model: str) -> dict[str, Any]:
        """See tests.vllm.engine."""
        content = [{"type": "image"} for _ in self.scenes] + [{"type": "text", "text": self.question}]
        text = processor_of(model).apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        if self.bare:
            text = self.bare
        if self.frames:
            text = text.replace(self.question, f"<|vision_start|><|video_pad|><|vision_end|>{self.question}")
        return {"text": text, "images": self.images, "videos": [list(self.frames)] if self.frames else []}

    @property
    def images(self) -> list[str]:
        """Paths of the scenes."""
        return [str(SCENES / "images" / f"heldout-{number:03d}.png") for number in self.scenes]


def asked(count: int) -> list[Ask]:
    """The first questions of the held-out set, with text alone and two scenes among them."""
    rows = [json.loads(line) for line in (SCENES / "heldout.jsonl").read_text(encoding="utf-8").splitlines()[:count]]
    found = [Ask(row["question"], (number,)) for number, row in enumerate(rows)]
    found[1] = Ask(found[1].question)
    found[3] = Ask(found[3].question, (3, 4))
    return found


@cache
def processor_of(model: str) -> Any:
    return AutoProcessor.from_pretrained(original(model))


def profile_of(model: str, plan: Plan, folder: Path) -> Path:
    """A profile with this plan, for one of the checkpoints."""
    from transformers import AutoConfig

    from halfv_core.profile import config_fingerprint

    shipped = Profile.load(MODELS.parent / "profiles" / "tiny-llava.json")
    config = AutoConfig.from_pretrained(original(model))
    provenance = shipped.provenance.model_copy(update={"config_fingerprint": config_fingerprint(config)})
    path = folder / "profile.json"
    shipped.model_copy(update={"plan": plan, "provenance": provenance, "pruning_tests": ()}).save(path)
    return path


def with_vllm(
    model: str, profile: Path | None, rounds: Sequence[Sequence[Ask]], tokens: int = 6, **options: Any
) -> dict[str, Any]:
    """What tests.vllm.engine says of it."""
    task = {
        "model": str(checkpoint(model)),
        "options": OPTIONS | options,
        "rounds": [[ask.task(model) for ask in asks] for asks in rounds],
        "tokens": tokens,
    }
    one_process = {} if options.get("tensor_parallel_size", 1) > 1 else {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    environment = os.environ | ENVIRONMENT | one_process | ({"HALFV_PROFILE": str(profile)} if profile else {})
    with TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        done = subprocess.run(
            [sys.executable, "-m", "tests.vllm.engine", str(result)],
            cwd=ROOT,
            env=environment,
            input=json.dumps(task),
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


@dataclass(frozen=True)
class Expected:
    """One prompt under `apply()`."""

    prompt: list[int]
    answer: list[int]
    kept: Kept


def with_apply(model: str, profile: Path | None, asks: Sequence[Ask], tokens: int = 6) -> list[Expected]:
    """The same prompts one by one in transformers."""
    loaded = AutoModelForImageTextToText.from_pretrained(original(model), dtype=torch.float32).eval()
    plan: Profile | Plan = Plan() if profile is None else Profile.load(profile)
    found = []
    with apply(loaded, plan) as run, torch.no_grad():
        for ask in asks:
            inputs = inputs_of(model, ask)
            output = loaded.generate(**inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
            prompt = inputs["input_ids"][0]
            kept = {layer: rows[0].tolist() for layer, rows in run.kept.items()} if ask.scenes or ask.frames else {}
            found.append(Expected(prompt.tolist(), output[0, len(prompt) :].tolist(), kept))
    return found


def inputs_of(model: str, ask: Ask) -> Any:
    import numpy as np
    from PIL import Image

    def opened(path: str) -> Any:
        return Image.open(path).convert("RGB")

    task, more = ask.task(model), {}
    if ask.scenes:
        more["images"] = [opened(path) for path in ask.images]
    if ask.frames:
        more["videos"] = [np.stack([np.asarray(opened(path)) for path in ask.frames])]
        known = metadata(len(ask.frames))
        del known["do_sample_frames"]
        more["video_metadata"] = [known]
        more["do_sample_frames"] = False
    return processor_of(model)(text=task["text"], return_tensors="pt", **more)


def check(found: dict[str, Any], rounds: Sequence[Sequence[Expected]]) -> None:
    """The same prompts, kept tokens and answers, in every process of the engine."""
    first, *others = found["kept"]
    for outputs, expected in zip(found["rounds"], rounds, strict=True):
        for output, one in zip(outputs, expected, strict=True):
            assert output["prompt"] == one.prompt
            kept = (
                {}
                if first is None
                else {int(layer): index for layer, index in first.get(key(first, output), {}).items()}
            )
            assert kept == one.kept, output["name"]
            assert output["answer"] == one.answer, output["name"]
    for other in others:
        assert other == first


def key(kept: dict[str, Any], output: dict[str, Any]) -> str:
    """The name under which the worker knows a request: vLLM adds a random part to the number."""
    return next((name for name in kept if name.split("-")[0] == output["name"].split("-")[0]), "")
