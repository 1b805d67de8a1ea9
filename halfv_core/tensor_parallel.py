"""Loading one model into several processes of torchrun, each of which holds a part of every layer."""

import os
from typing import Any

import torch
from torch import distributed
from transformers import PreTrainedModel

from halfv_core.errors import ModelError

_HEADS = ("num_attention_heads", "num_key_value_heads")


def check_processes(count: int) -> None:
    """Refuse another number of processes than tensor parallelism is asked for, or too few GPUs for those here.

    Args:
        count: of processes; 1 is no tensor parallelism, and takes any.

    Raises:
        ModelError: see above.
    """
    if count < 1:
        raise ModelError("tensor_parallel is a number of processes", got=count, expected="1 or more")
    if count == 1:
        return
    started = _processes()
    if started != count:
        raise ModelError(
            f"tensor parallelism over {count} processes needs torchrun to start as many",
            got=f"{started} process{'es' * (started != 1)}",
            expected=str(count),
            remedy=f"type: torchrun --nproc-per-node {count} -m cli.main COMMAND ... --tensor-parallel {count}",
        )
    here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if torch.cuda.is_available() and here > gpus:
        raise ModelError(
            "tensor parallelism takes a GPU for each process", got=f"{gpus} for {here} processes", expected=str(here)
        )


def distributed_config(name: str, model: PreTrainedModel, count: int) -> Any:
    """What `from_pretrained` takes as `distributed_config`, by transformers' own plan for the model.

    Args:
        name: of the checkpoint, for messages.
        model: made without memory.
        count: of processes, two or more.

    Raises:
        ModelError: transformers has no plan for this model, or heads that the processes cannot share evenly.
    """
    try:
        from transformers.distributed import DistributedConfig  # type: ignore[attr-defined]

        config = DistributedConfig(tp_size=count, tp_plan="auto")
    except (ImportError, TypeError):
        raise ModelError(
            "this transformers does not split a model over processes",
            expected="5.23, with which it was tested",
            remedy="pip install --upgrade transformers, or use --device-map auto",
        ) from None
    plan = model.tp_plan or {}
    if not any("attn" in part for part in plan):  # the output layer alone would be split
        raise ModelError(
            f"transformers has no tensor-parallel plan for {name}",
            got=type(model).__name__,
            remedy="spread it over the GPUs of one process: --device-map auto",
        )
    text = model.config.get_text_config()
    heads = {field: getattr(text, field, None) for field in _HEADS}
    uneven = [f"{field} {value}" for field, value in heads.items() if value is not None and value % count]
    if uneven:
        fitting = [size for size in range(2, text.num_attention_heads + 1) if not any(
            value % size for value in heads.values() if value is not None
        )]  # fmt: skip
        raise ModelError(
            f"{count} processes cannot share the attention heads of {name}",
            got=", ".join(uneven),
            expected=f"--tensor-parallel {' or '.join(map(str, fitting))}" if fitting else "one process",
        )
    return config


def _processes() -> int:
    """Number of processes that run together with this one."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    world = os.environ.get("WORLD_SIZE", "1")
    return int(world) if "RANK" in os.environ and world.isdecimal() else 1
