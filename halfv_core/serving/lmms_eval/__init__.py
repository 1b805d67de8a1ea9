"""lmms-eval's `--model halfv`: one of its own models, under a plan.

lmms-eval --model halfv --model_args base=qwen2_5_vl,pretrained=...,profile=profile.json --tasks gqa --batch_size 1

lmms-eval finds this file by the entry point `lmms_eval.models`, whichever model it is asked for, so it imports little.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmms_eval.models.registry_v2 import ModelManifest

MODEL = "halfv"
"""The name after `--model`."""


def manifest() -> "ModelManifest":
    """Where lmms-eval finds the model's classes: for prompts of messages, and for `--force_simple`."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(MODEL, f"{__name__}.model.SimpleHalfV", f"{__name__}.model.HalfV")
