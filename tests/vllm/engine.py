"""A vLLM engine in a process of its own: it answers prompts, and says what was kept of them.

    echo TASK | python -m tests.vllm.engine RESULT

A task is JSON: `model` and `options` of the engine; `rounds`, lists of prompts that are answered together, each with
`text`, paths of `images` and paths of the frames of `videos`; and the number of `tokens` of each answer. RESULT is a
file for what is found, as JSON too.
"""

import json
import sys
from pathlib import Path
from typing import Any


def begin(worker: Any) -> None:
    """Let the worker note what is kept, if it runs under a plan."""
    forward = worker.model_runner.get_model().language_model.model.forward
    if hasattr(forward, "kept"):
        forward.kept = {}


def noted(worker: Any) -> dict[str, dict[int, list[int]]] | None:
    """By request and layer: what the worker has kept; None if it runs without a plan."""
    kept = getattr(worker.model_runner.get_model().language_model.model.forward, "kept", None)
    if kept is None:
        return None
    return {name: {layer: index.tolist() for layer, index in layers.items()} for name, layers in kept.items()}


def metadata(frames: int) -> dict[str, Any]:
    """Of a video whose frames are all taken, two a second."""
    return {
        "fps": 2.0,
        "duration": frames / 2,
        "total_num_frames": frames,
        "frames_indices": list(range(frames)),
        "video_backend": "opencv",
        "do_sample_frames": False,
    }


def data_of(prompt: dict[str, Any]) -> dict[str, Any]:
    """A prompt as vLLM takes it."""
    import numpy as np
    from PIL import Image

    def opened(path: str) -> Any:
        return Image.open(path).convert("RGB")

    data: dict[str, Any] = {}
    if prompt.get("images"):
        data["image"] = [opened(path) for path in prompt["images"]]
    if prompt.get("videos"):
        frames = [np.stack([np.asarray(opened(path)) for path in video]) for video in prompt["videos"]]
        data["video"] = [(each, metadata(len(each))) for each in frames]
    return {"prompt": prompt["text"], "multi_modal_data": data} if data else {"prompt": prompt["text"]}


def main() -> None:
    """Carry out the task on stdin."""
    task = json.load(sys.stdin)
    from vllm import LLM, SamplingParams
    from vllm.exceptions import VLLMValidationError

    llm = LLM(task["model"], dtype="float32", block_size=32, seed=0, disable_log_stats=False, **task["options"])
    llm.collective_rpc(begin)
    sampling = SamplingParams(temperature=0, max_tokens=task["tokens"], min_tokens=task["tokens"])
    rounds = []
    for prompts in task["rounds"]:
        outputs = llm.generate([data_of(prompt) for prompt in prompts], sampling, use_tqdm=False)
        rounds.append(
            [
                {
                    "name": output.request_id,
                    "prompt": output.prompt_token_ids,
                    "answer": list(output.outputs[0].token_ids),
                    "cached": output.num_cached_tokens,
                }
                for output in outputs
            ]
        )
    refusal = ""
    try:
        llm.generate("<|im_start|>user", SamplingParams(max_tokens=1, prompt_logprobs=1), use_tqdm=False)
    except VLLMValidationError as error:
        refusal = str(error)
    metrics = {metric.name: metric.value for metric in llm.get_metrics() if hasattr(metric, "value")}
    found = {
        "rounds": rounds,
        "refusal": refusal,
        "kept": llm.collective_rpc(noted),
        "preemptions": metrics["vllm:num_preemptions"],
        "steps": next(metric.count for metric in llm.get_metrics() if metric.name == "vllm:iteration_tokens_total"),
    }
    Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
