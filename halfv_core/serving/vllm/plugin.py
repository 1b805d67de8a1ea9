"""The entry point of the plugin, and all that is patched in vLLM.

vLLM has no hook between the layers of a decoder, so five of its methods are wrapped. Without a profile each of them
does what it did.

    EngineArgs.create_engine_config            in the user's process: refuse what cannot be run, before anything starts
    InputProcessor.__init__                    in the user's process: refuse requests that cannot be answered
    Scheduler.__init__                         in the engine: which prompts may use the prefix cache, and how many
                                               blocks of the KV cache requests need
    WorkerWrapperBase.init_device              in each worker, before it is asked which layers can share these blocks
    WorkerWrapperBase.initialize_from_config   in each worker, with the model loaded and the KV cache laid out: put the
                                               plan into the decoder
"""

import sys
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from halfv_core.errors import HalfVError, ModelError
from halfv_core.plan import Plan
from halfv_core.serving.vllm.settings import DECODERS, is_admitted, served_plan


@cache
def register() -> None:
    """Wrap vLLM's methods; called by vLLM in each of its processes."""
    from vllm import __version__
    from vllm.engine.arg_utils import EngineArgs

    _wrap(EngineArgs, "create_engine_config", _checked)
    if not is_admitted(__version__):  # which may lack the other classes, and refuses every profile
        return
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.engine.input_processor import InputProcessor
    from vllm.v1.worker.worker_base import WorkerWrapperBase

    _after(InputProcessor, "__init__", refuse_prompt_logprobs)
    _after(Scheduler, "__init__", limit_prefix_cache)
    _after(Scheduler, "__init__", limit_blocks)
    _after(WorkerWrapperBase, "init_device", lambda self, plan: part_layers(self.worker.model_runner, plan))
    _after(WorkerWrapperBase, "initialize_from_config", lambda self, plan: install(self.worker.model_runner, plan))


def refuse_prompt_logprobs(processor: Any, plan: Plan) -> None:
    """Refuse requests for probabilities of the prompt's own tokens, of which a Keep has dropped some."""
    from vllm.exceptions import VLLMValidationError

    validate: Callable[..., Any] = processor._validate_params

    def validated(params: Any, *args: Any, **kwargs: Any) -> Any:
        if plan.keeps and getattr(params, "prompt_logprobs", None) is not None:
            raise VLLMValidationError(
                "prompt_logprobs are not known under a plan that drops visual tokens", parameter="prompt_logprobs"
            )
        return validate(params, *args, **kwargs)

    processor._validate_params = validated


def limit_prefix_cache(scheduler: Any, plan: Plan) -> None:
    """Under a Keep, compute a prompt with images from its start, since what is kept depends on its last token.

    Other prompts may share what it leaves in the cache: up to its first image that is what any prompt leaves, and later
    blocks are found only by prompts with the same images.
    """
    manager = scheduler.kv_cache_manager
    enabled: Callable[[Any], bool] = manager.prefix_cache_lookup_enabled
    if plan.keeps:
        manager.prefix_cache_lookup_enabled = lambda request: not request.mm_features and enabled(request)


def limit_blocks(scheduler: Any, plan: Plan) -> None:
    """Under a Keep, let requests have only the blocks that their remaining tokens need in each group of layers."""
    if plan.keeps:
        from halfv_core.serving.vllm.blocks import Dropped

        dropped = Dropped(plan.keeps, scheduler.requests)
        for manager in scheduler.kv_cache_manager.coordinator.single_type_managers:
            manager.dropped = dropped


def part_layers(runner: Any, plan: Plan) -> None:
    """Under a Keep, tell vLLM which layers of a GPUModelRunner's decoder need the same number of blocks."""
    specs_of: Callable[[], Any] = runner.get_kv_cache_spec

    def pruned() -> Any:
        from halfv_core.serving.vllm.blocks import pruned_specs

        return pruned_specs(specs_of(), _names_of(_decoder_of(runner)), plan.keeps)

    if plan.keeps:
        runner.get_kv_cache_spec = pruned


def install(runner: Any, plan: Plan) -> None:
    """Let a worker's decoder run under a plan.

    Args:
        runner: a GPUModelRunner with a loaded model and an initialised KV cache.
        plan: passed by `check_plan`.

    Raises:
        ModelError: the decoder is of a class that has not been tried.
        PlanError: the plan names a layer that the decoder does not have.
        UnsupportedError: its attention backend or KV cache is of a kind that has not been tried.
    """
    from vllm.logger import init_logger

    from halfv_core.serving.vllm.attention import groups_of
    from halfv_core.serving.vllm.decoder import PlannedDecoder
    from halfv_core.serving.vllm.steps import Steps

    decoder = _decoder_of(runner)
    groups = groups_of(runner, _names_of(decoder))
    decoder.forward = PlannedDecoder(decoder, plan, groups, Steps(runner))
    init_logger("vllm.halfv").info("The decoder runs under a plan: %s.", "; ".join(plan.describe()))


def _decoder_of(runner: Any) -> Any:
    decoder = runner.get_model().language_model.model
    if type(decoder).__name__ not in DECODERS:
        raise ModelError(
            "vLLM does not run a model with this decoder under a plan",
            got=type(decoder).__name__,
            expected=", ".join(DECODERS),
        )
    return decoder


def _names_of(decoder: Any) -> list[str]:
    """The names by which vLLM's KV cache knows the layers."""
    return [layer.self_attn.attn.layer_name for layer in decoder.layers]


def _wrap(owner: type, name: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = getattr(owner, name)
    setattr(owner, name, wraps(original)(around(original)))


def _after(owner: type, name: str, then: Callable[[Any, Plan], None]) -> None:
    """Let a method do something more at its end, if its object's `vllm_config` asks for a profile."""

    def around(original: Callable[..., Any]) -> Callable[..., Any]:
        def extended(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(self, *args, **kwargs)
            plan = _plan_of(self.vllm_config)
            if plan is not None:
                then(self, plan)
            return result

        return extended

    _wrap(owner, name, around)


def _checked(create: Callable[..., Any]) -> Callable[..., Any]:
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        config = create(self, *args, **kwargs)
        try:
            _plan_of(config)
        except HalfVError:
            sys.excepthook = _in_one_line(sys.excepthook)
            raise
        return config

    return checked


def _plan_of(config: Any) -> Plan | None:
    from vllm import __version__

    return served_plan(config, __version__)


def _in_one_line(show: Callable[..., Any]) -> Callable[..., Any]:
    """An excepthook that shows a HalfVError without its traceback."""

    def shown(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if isinstance(error, HalfVError):
            print(f"Error: {error}", file=sys.stderr)
        else:
            show(kind, error, trace)

    return shown
