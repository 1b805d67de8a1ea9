"""Which profile an engine was asked to serve, and what is refused at its start."""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from halfv_core.errors import PlanError, ProfileError, UnsupportedError
from halfv_core.interventions import Freeze, Keep
from halfv_core.plan import Plan
from halfv_core.profile import Profile
from halfv_core.selectors import PromptSelector, make_selector

PROFILE = "HALFV_PROFILE"
"""Environment variable with the path of a profile, or its name on the hub."""
OPTION = "halfv_profile"
"""The same as an entry of vLLM's `--additional-config`, which wins over the variable."""
UNTRIED = "HALFV_VLLM_UNTRIED"
"""Environment variable that, set to 1, lets versions and attention backends pass that have not been tried."""

VERSIONS = ("0.32.0",)
BACKENDS = ("CPU_ATTN",)
"""Attention backends that were tried."""
MODELS = (
    "LlavaForConditionalGeneration",
    "LlavaNextForConditionalGeneration",
    "Qwen2VLForConditionalGeneration",
    "Qwen2_5_VLForConditionalGeneration",
    "Qwen3VLForConditionalGeneration",
)
DECODERS = ("LlamaModel", "MistralModel", "Qwen2Model", "Qwen3LLMModel")

_WITHOUT_HEADS = ("v2drop",)
"""Selectors of single prompts that look at whole hidden states only, which every tensor-parallel process has."""


class Fault(NamedTuple):
    """Something that an engine does and that a plan does not go with."""

    what: str
    found: Callable[[Any], object]
    """From a VllmConfig; what it returns is refused if it is true."""
    remedy: str
    """What to start vLLM with instead."""


def _splits_context(config: Any) -> bool:
    sizes: list[int] = [
        config.parallel_config.decode_context_parallel_size,
        config.parallel_config.prefill_context_parallel_size,
    ]
    return max(sizes) > 1


_FAULTS = (
    Fault("compiled models and CUDA graphs", lambda c: not c.model_config.enforce_eager, "--enforce-eager"),
    Fault("model runner V2", lambda c: c.use_v2_model_runner, "VLLM_USE_V2_MODEL_RUNNER=0"),
    Fault("speculative decoding", lambda c: c.speculative_config, "no --speculative-config"),
    Fault("LoRA adapters", lambda c: c.lora_config, "no --enable-lora"),
    Fault("pipeline parallelism", lambda c: c.parallel_config.pipeline_parallel_size > 1, "--pipeline-parallel-size 1"),
    Fault("context parallelism", _splits_context, "no context parallelism"),
    Fault("data parallelism", lambda c: c.parallel_config.data_parallel_size > 1, "one engine for each replica"),
    Fault("microbatches", lambda c: c.parallel_config.use_ubatching, "no --enable-dbo"),
    Fault("the transfer of KV caches", lambda c: c.kv_transfer_config, "neither --kv-transfer-config nor offloading"),
    Fault("the transfer of images", lambda c: c.ec_transfer_config, "no --ec-transfer-config"),
    Fault("a quantised KV cache", lambda c: c.cache_config.cache_dtype != "auto", "--kv-cache-dtype auto"),
    Fault(
        "one KV cache for all layers",
        lambda c: c.scheduler_config.disable_hybrid_kv_cache_manager,
        "no --disable-hybrid-kv-cache-manager",
    ),
    Fault("quantised weights", lambda c: c.model_config.quantization, "a checkpoint that is not quantised"),
    Fault("prompts as embeddings", lambda c: c.model_config.enable_prompt_embeds, "no --enable-prompt-embeds"),
    Fault("pooling", lambda c: c.model_config.runner_type != "generate", "--runner generate"),
    Fault(
        "the pruning of videos before the decoder",
        lambda c: c.model_config.multimodal_config.is_multimodal_pruning_enabled(),
        "no --video-pruning-rate",
    ),
)


def profile_path(additional: object, environment: Mapping[str, str] = os.environ) -> str | None:
    """The profile that was asked for; None if none was, and vLLM stays as it is.

    Args:
        additional: vLLM's `additional_config`.
        environment: the process's variables.

    Raises:
        ProfileError: the option is not a path.
    """
    named = additional.get(OPTION) if isinstance(additional, Mapping) else None
    if named is not None and not (isinstance(named, str) and named):
        raise ProfileError(f"{OPTION} in --additional-config is the path of a profile", got=repr(named))
    return named or environment.get(PROFILE) or None


def served_plan(config: Any, version: str) -> Plan | None:
    """The plan that an engine runs, after everything is refused that it cannot run exactly.

    Args:
        config: a VllmConfig.
        version: of vLLM.

    Returns:
        None if no profile was asked for.

    Raises:
        ProfileError: the profile cannot be read, or is of another model.
        PlanError: the plan has interventions that are not served.
        UnsupportedError: the engine does something that the plan does not go with.
    """
    path = profile_path(config.additional_config)
    if path is None:
        return None
    check_version(version)
    check_engine(config)
    profile = Profile.load(path)
    profile.check_model(config.model_config.hf_config)
    check_plan(profile.plan, config.parallel_config.tensor_parallel_size)
    return profile.plan


def is_admitted(version: str) -> bool:
    """Whether a version of vLLM has been tried, or is let pass; a local part such as `+cpu` does not count."""
    return version.partition("+")[0] in VERSIONS or os.environ.get(UNTRIED) == "1"


def check_version(version: str) -> None:
    """Refuse a version of vLLM that has not been tried."""
    if not is_admitted(version):
        raise _untried("version of vLLM", version, VERSIONS)


def check_backend(name: str) -> None:
    """Refuse an attention backend that has not been tried."""
    if name not in BACKENDS and os.environ.get(UNTRIED) != "1":
        raise _untried("attention backend", name, BACKENDS)


def check_engine(config: Any) -> None:
    """Refuse a VllmConfig with a model or a feature that a plan does not go with."""
    architecture = config.model_config.architecture
    if architecture not in MODELS:
        raise UnsupportedError("vLLM does not run this model under a plan", got=architecture, expected=_any_of(MODELS))
    for fault in _FAULTS:
        if fault.found(config):
            raise UnsupportedError(
                f"vLLM does not run a plan together with {fault.what}", remedy=f"start vLLM with {fault.remedy}"
            )


def check_plan(plan: Plan, tensor_parallel: int = 1) -> None:
    """Refuse interventions that are not served.

    Args:
        plan: of the profile.
        tensor_parallel: number of processes over which attention heads are split.

    Raises:
        PlanError: the plan has such an intervention.
    """
    for item in plan.interventions:
        if not (_is_plain_freeze(item) or _is_plain_keep(item, tensor_parallel)):
            raise PlanError(
                "vLLM does not run this part of the plan",
                got=item.describe(),
                expected="Keep with a number or share of tokens and a selector that looks at the decoder alone"
                + (", not at single heads," if tensor_parallel > 1 else "")
                + " or Freeze of all visual tokens",
                remedy="calibrate with other selectors, or serve it with `halfv-probe serve`",
            )


def _is_plain_freeze(item: object) -> bool:
    return isinstance(item, Freeze) and item.is_empty


def _is_plain_keep(item: object, tensor_parallel: int) -> bool:
    if not isinstance(item, Keep) or item.counts_itself or item.merge is not None:
        return False
    if item.positions != "kept" or item.cache != "onward" or not item.reads() <= {"previous"}:
        return False
    looks_at_heads = isinstance(make_selector(item.selector, item.options), PromptSelector)
    return tensor_parallel == 1 or not looks_at_heads or item.selector in _WITHOUT_HEADS


def _untried(what: str, got: str, tried: tuple[str, ...]) -> UnsupportedError:
    return UnsupportedError(
        f"this {what} has not been tried with a plan",
        got=got,
        expected=_any_of(tried),
        remedy=f"set {UNTRIED}=1 to use it all the same, and compare answers with `halfv-probe generate`",
    )


def _any_of(names: tuple[str, ...]) -> str:
    return ", ".join(names)
