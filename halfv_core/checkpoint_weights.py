"""Whether the weights of a checkpoint reached the model: transformers fills in random numbers for what is missing."""

from collections.abc import Collection, Mapping
from typing import Any

from halfv_core.errors import ModelError

_SHOWN = 3
"""Number of weights that a message names."""


def check_weights(name: str, architecture: str, info: Mapping[str, Any]) -> None:
    """Refuse a model that is not exactly what the checkpoint holds.

    Tied weights, and those that the model's class lets loading ignore, are neither missing nor unexpected.

    Args:
        name: the checkpoint, for the message.
        architecture: the model's class, for the message.
        info: what `from_pretrained(..., output_loading_info=True)` returns beside the model.

    Raises:
        ModelError: weights are missing, left over or of another shape.
    """
    faults = []
    if info["missing_keys"]:
        faults.append(f"{len(info['missing_keys'])} missing ({_some(info['missing_keys'])})")
    if info["unexpected_keys"]:
        faults.append(f"{len(info['unexpected_keys'])} unexpected ({_some(info['unexpected_keys'])})")
    if info["mismatched_keys"]:
        shapes = [f"{key} {tuple(found)} for {tuple(wanted)}" for key, found, wanted in sorted(info["mismatched_keys"])]
        faults.append(f"{len(shapes)} of another shape ({_some(shapes)})")
    faults.extend(info.get("error_msgs", ()))
    if faults:
        raise ModelError(
            f"the weights of {name} do not fit its config.json",
            got=", ".join(faults),
            expected=f"exactly the weights of {architecture}",
            remedy="download the checkpoint again, or mend its config.json or the names of its weights",
        )


def _some(names: Collection[str]) -> str:
    shown = sorted(names)[:_SHOWN]
    return ", ".join(shown) + (", ..." if len(names) > _SHOWN else "")
