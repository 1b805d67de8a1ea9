"""The transformers model inside a PeftModel or a DistributedDataParallel, and what a model may not be wrapped in.

Plans and measurements wrap methods of modules. These must be the ones that run, on modules that have their weights.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from halfv_core.errors import ModelError, UnsupportedError

_PEFT = {"PeftModel", "PeftMixedModel"}
_SHARDED = {"FSDPModule", "FullyShardedDataParallel"}


def plain_model(model: Any) -> PreTrainedModel:
    """The transformers model that a PeftModel or a DistributedDataParallel runs, or the model itself.

    Adapters are parts of its layers, so it computes with them. It must be called as it was given: a wrapper may do more
    around a call.

    Raises:
        UnsupportedError: the model learns a prompt, is sharded by FSDP, replicated by DataParallel, or compiled.
        ModelError: it is not a transformers model.
    """
    kinds = _kinds(model)
    if "OptimizedModule" in kinds:
        raise _compiled(model._orig_mod)
    if "DataParallel" in kinds:
        raise UnsupportedError(
            "DataParallel copies a model for each call, without what wraps its methods",
            remedy="use one process for each GPU, or spread one model over them with device_map='auto'",
        )
    if "DistributedDataParallel" in kinds:
        return plain_model(model.module)
    if kinds & _PEFT:
        for adapter in model.active_adapters:
            config = model.peft_config[adapter]
            if config.is_prompt_learning or config.is_adaption_prompt:
                raise UnsupportedError(
                    "an adapter that learns a prompt adds tokens that have no id",
                    got=str(getattr(config.peft_type, "value", config.peft_type)),
                    expected="an adapter of the weights, such as LoRA",
                )
        return plain_model(model.get_base_model())
    if not isinstance(model, PreTrainedModel):
        raise ModelError("this is not a transformers model", got=type(model).__name__, expected="PreTrainedModel")
    return model


def has_adapters_by_row(module: nn.Module) -> bool:
    """Whether the present call gives each row of its batch an adapter of its own: PEFT's `adapter_names=`."""
    hooks = (hook for part in module.modules() for hook in part._forward_pre_hooks.values())
    return any("adapter_names" in getattr(hook, "keywords", ()) for hook in hooks)


def check_modules(model: PreTrainedModel, layers: Sequence[nn.Module]) -> None:
    """Refuse a model whose layers cannot be wrapped: its weights are sharded by FSDP, or modules around them compiled.

    Raises:
        UnsupportedError: see above.
    """
    if any(_SHARDED & _kinds(module) for module in model.modules()):
        raise UnsupportedError(
            "a model that is sharded by FSDP has its weights only inside its own calls",
            remedy="use it before it is sharded, or spread it with device_map='auto'",
        )
    for module in model.modules():
        is_around = module not in layers and any(part is layers[0] for part in module.modules())
        if is_around and (module._compiled_call_impl is not None or _is_compiled(module)):
            raise _compiled(module)
    for layer in layers:
        if layer._compiled_call_impl is not None:
            raise _compiled(layer)


def _compiled(module: nn.Module) -> UnsupportedError:
    kind = type(getattr(module, "_orig_mod", module)).__name__
    return UnsupportedError(
        "a compiled model cannot run under a plan",
        got=f"a compiled {kind}",
        remedy="use it as it was loaded, or compile its layers by layer.forward = torch.compile(layer.forward)",
    )


def _is_compiled(module: nn.Module) -> bool:
    """Whether the module is what torch.compile returned, or its forward is."""
    forward = module.__dict__.get("forward")
    return "OptimizedModule" in _kinds(module) or (
        hasattr(forward, "_torchdynamo_orig_callable") and not getattr(forward, "_torchdynamo_disable", False)
    )


def _kinds(module: Any) -> set[str]:
    """Names of the module's classes; by name, since not all of their packages need be there."""
    return {kind.__name__ for kind in type(module).__mro__}
