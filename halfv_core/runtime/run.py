"""apply(): run a Hugging Face model under a plan, and leave the model as it was.

with apply(model, profile) as run:
    out = model.generate(**inputs)
run.kept[2], run.cost.flops_ratio
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial, wraps
from threading import Lock
from typing import Any

import torch
from transformers import Cache, PreTrainedModel
from transformers.generation.configuration_utils import CompileConfig

from halfv_core.cost import Cost, DecoderShape
from halfv_core.errors import UnsupportedError
from halfv_core.families.admission import check_admitted
from halfv_core.families.base import Family, Parts, parts_of
from halfv_core.plan import Plan
from halfv_core.profile import Profile
from halfv_core.runtime.cache_state import CacheState
from halfv_core.runtime.call import Call, is_one_more_token, padding_mask_of, state_in_use
from halfv_core.runtime.compiled_decoding import CompiledSteps, is_in_step, run_layer_in_step
from halfv_core.runtime.decode_state import DecodeState
from halfv_core.runtime.freeze import run_frozen_layer
from halfv_core.runtime.generation import check_generate
from halfv_core.runtime.layout import TokenLayout
from halfv_core.runtime.patching import Forward, Wrap, by_name, rope_deltas, set_rope_deltas, wrapped
from halfv_core.runtime.prefill_state import PrefillState
from halfv_core.runtime.renumbering import check_renumbering
from halfv_core.runtime.run_record import RunRecord
from halfv_core.runtime.sources import Sources, observed_layers
from halfv_core.runtime.static_cache import StaticPrefill, check_window, is_static
from halfv_core.runtime.tracked_cache import check_cache_type, state_of, track, under_plan
from halfv_core.runtime.vision_readings import VisionRecorder
from halfv_core.wrappers import plain_model

_KERNELS = ("eager", "sdpa")


@contextmanager
def apply(model: PreTrainedModel, plan: Profile | Plan, *, family: Family | None = None) -> Iterator["Run"]:
    """Run the model under a plan inside the block, and restore it on exit.

    Works through `forward()` and `generate()`. Each row of a batch is pruned as if it were alone, with the attention of
    its own last token, and rows without images are left unchanged. Images in a later turn of a conversation are pruned
    with the attention of that turn's last token. Without a cache, every call is a prompt of its own. A plan that does
    nothing leaves logits and generations bit-identical.

    The decoder's last hidden state carries zeros at pruned positions, so that logits keep the prompt's length; logits
    at pruned positions are meaningless, and `labels` must be -100 at every token that follows a visual one.
    `output_hidden_states` returns the output of each layer: after a Keep only the remaining tokens, (B, n, D), and at
    the last layer the full length.

    Args:
        model: a loaded model of a registered family, or one that was proven (`probe.admit`), with eager, sdpa or
            FlashAttention kernels; or a PeftModel or DistributedDataParallel around one, to be called as it is.
        plan: a plan, or a profile that holds one; a profile is checked against the model's config first.
        family: description of the model, if no registered one fits.

    Yields:
        The `Run`, whose `kept` and `cost` describe the latest prompt.

    Raises:
        ProfileError: the profile was made for another model.
        PlanError: the plan names a layer that the model does not have.
        ModelError: the model's family is not known, or the model lacks a module that the runtime needs.
        UnsupportedError: the runtime does not handle the attention kernel, the cache, the input or what the model is
            wrapped in, nothing is proven of the model's classes, or a plan is applied to the model already.
    """
    model = plain_model(model)
    admitted = None
    if isinstance(plan, Profile):
        plan.check_model(model.config)
        admitted = plan.provenance.admitted
        plan = plan.plan
    parts = parts_of(model, family)
    if not parts.is_tested and admitted != str(parts.pair):
        check_admitted(parts.pair)
    plan.check_depth(len(parts.layers))
    _check_kernel(parts)
    check_renumbering(parts, plan)
    _check_recurrent(parts, plan)
    if observed_layers(plan):
        parts.check_plain("a selector that reads what attention and MLP add to each token")
    reads_tower = plan.reads() & {"vision", "grids"}
    recorder = VisionRecorder(model, family, plan.tower_layers()) if reads_tower else None
    run = Run(model, parts, plan, recorder)
    with wrapped(run.wraps()):
        yield run


def _check_kernel(parts: Parts) -> None:
    kernel = parts.decoder.config._attn_implementation
    if kernel not in _KERNELS and not parts.flash:
        raise UnsupportedError(
            "this attention kernel is not supported",
            got=kernel,
            expected=f"{', '.join(_KERNELS)} or a flash_attention",
            remedy="load the model with attn_implementation='sdpa'",
        )


def _check_recurrent(parts: Parts, plan: Plan) -> None:
    """Refuse what layers with a running state cannot do: give tokens back, and say what a token attends to."""
    if not parts.recurrent:
        return
    if any(keep.cache == "everywhere" for keep in plan.keeps):
        raise UnsupportedError(
            "tokens cannot be taken out of the state of layers without keys and values",
            got="cache='everywhere'",
            expected="cache='onward'",
        )
    if plan.whens:
        raise UnsupportedError("the rules of a When ask about attention, which some layers of this decoder do not have")
    for keep in plan.keeps:
        if "previous" in keep.reads() and keep.layer <= parts.first_attention:
            raise UnsupportedError(
                f"no layer before layer {keep.layer} has attention to rank tokens by",
                expected=f"layer {parts.first_attention + 1} or later, or a selector that does not read it",
            )


class Run:
    """One `apply()`: what it did to the latest prompt.

    Several threads may call the model at once, each with its own prompts and caches; the latest prompt is the one that
    any of them started last.
    """

    def __init__(
        self, model: PreTrainedModel, parts: Parts, plan: Plan, recorder: VisionRecorder | None = None
    ) -> None:
        self._model = model
        self._recorder = recorder
        self._parts = parts
        self.plan = plan
        """What is done to the visual tokens."""
        self._call = Call()
        self._steps = CompiledSteps(parts, plan)
        # Those who switch the kernel that all layers share let only one forward call run at a time: frozen layers under
        # FlashAttention, and layers that are run for their queries and keys.
        switches = (parts.flash and plan.frozen_layers) or not parts.is_plain
        self._exclusive = Lock() if switches else nullcontext()
        self._latest: RunRecord | None = None

    @property
    def kept(self) -> dict[int, list[torch.Tensor]]:
        """By layer of each Keep, and by batch row: (kept,) ascending positions of the visual tokens kept there.

        Likewise by each layer at which a When pruned; rows in which it did not are empty there.
        """
        return {} if self._latest is None else self._latest.kept

    @property
    def exempt(self) -> dict[int, list[torch.Tensor]]:
        """By first layer of each run of frozen or hidden layers, and by row: (k,) ascending positions of the tokens
        that the Freeze goes on updating, or that the Hide lets stay, if there are any."""
        return {} if self._latest is None else self._latest.exempt

    @property
    def fired(self) -> list[list[int | None]]:
        """For each When of the plan, by batch row: the layer at whose input it pruned; None if its rule never held."""
        return [] if self._latest is None else self._latest.fired

    @property
    def anchors(self) -> dict[int, list[torch.Tensor]]:
        """Likewise, but only the tokens that were chosen for their attention, in any order."""
        return {} if self._latest is None else self._latest.anchors

    @property
    def cost(self) -> Cost:
        """Cost of the latest prompt and of what was generated after it.

        Raises:
            UnsupportedError: nothing has run yet.
        """
        if self._latest is None:
            raise UnsupportedError("no prompt has run under this plan yet", remedy="call the model first")
        value_bytes = next(self._parts.decoder.parameters()).element_size()
        return self._latest.cost(DecoderShape.of(self._parts.decoder.config, value_bytes))

    def wraps(self) -> Sequence[Wrap]:
        """The methods to wrap: generate(), the core, which gets token ids, every layer, and what is added between."""

        def around_core(forward: Forward) -> Forward:
            @wraps(forward)
            def run_core(*args: Any, **kwargs: Any) -> Any:
                return self._run_core(forward, *args, **kwargs)

            disabled: Forward = torch.compiler.disable(run_core)  # in a compiled function that calls the model
            return disabled

        def around_layer(index: int, forward: Forward) -> Forward:
            @wraps(forward)
            def run_layer(hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
                named = by_name(forward, args, kwargs)
                if is_in_step(named):
                    return run_layer_in_step(index, forward, hidden_states, named)
                return self._run_layer(index, forward, hidden_states, **named)

            return run_layer

        def around_sublayer(index: int, sublayer: int, forward: Forward) -> Forward:
            @wraps(forward)
            def run_sublayer(*args: Any, **kwargs: Any) -> Any:
                output = forward(*args, **kwargs)
                state = self._call.state
                if isinstance(state, PrefillState) and state.observes(index):
                    before = args[0] if args else kwargs["hidden_states"]
                    after = output[0] if isinstance(output, tuple) else output
                    state.note_sublayer(index, sublayer, before.detach(), after.detach())
                return output

            return run_sublayer

        def around_deepstack(add: Forward) -> Forward:
            @wraps(add)
            def run_deepstack(hidden: torch.Tensor, *args: Any) -> torch.Tensor:
                state = self._call.state
                if not isinstance(state, PrefillState):
                    return add(hidden, *args)  # type: ignore[no-any-return]
                return state.add_deepstack(hidden, lambda whole: add(whole, *args))

            return run_deepstack

        def around_generate(generate: Forward) -> Forward:
            @wraps(generate)
            def run_generate(*args: Any, **kwargs: Any) -> Any:
                check_generate(self._model, self._parts.visual_ids, *args, **kwargs)
                prompt = args[0] if args else kwargs.get("inputs", kwargs.get("input_ids"))
                state = state_in_use(kwargs)
                if state is not None and prompt is not None:
                    set_rope_deltas(self._parts.core, state.rope_deltas, len(prompt))
                return generate(*args, **kwargs)

            return run_generate

        def around_compiling(get: Forward) -> Forward:
            @wraps(get)
            def run_get(settings: CompileConfig | None) -> Forward:
                default = getattr(self._model, "_default_compile_config", CompileConfig)
                return partial(self._run_compiling, settings or default())

            return run_get

        deepstack = self._parts.deepstack
        between = [] if deepstack is None else [Wrap(self._parts.decoder, deepstack, around_deepstack)]
        layers = [
            Wrap(layer, "forward", partial(around_layer, index)) for index, layer in enumerate(self._parts.layers)
        ]
        sublayers = [
            Wrap(getattr(self._parts.layers[index], name), "forward", partial(around_sublayer, index, number))
            for index in sorted(observed_layers(self.plan))
            for number, name in enumerate(("self_attn", "mlp"))
        ]
        return [
            Wrap(self._parts.core, "forward", around_core),
            Wrap(self._model, "generate", around_generate),
            Wrap(self._model, "get_compiled_call", around_compiling),
            *layers,
            *sublayers,
            *between,
            *(() if self._recorder is None else self._recorder.wraps()),
        ]

    def _run_core(self, forward: Forward, *args: Any, **kwargs: Any) -> Any:
        input_ids = args[0] if args else kwargs.get("input_ids")
        call = self._call
        # generate() passes on what the vision tower made of the pixels, and an empty dict if there are none.
        call.has_images = bool(kwargs.get("mm_encoder_outputs")) or any(
            value is not None for name, value in kwargs.items() if "pixel_values" in name
        )
        if input_ids is not None:
            call.input_ids, call.padding_mask = input_ids, padding_mask_of(kwargs, input_ids)
        elif not is_one_more_token(kwargs):
            raise UnsupportedError("visual tokens cannot be found in inputs_embeds", remedy="pass input_ids")
        state = state_in_use(kwargs)
        if state is not None:
            state.check_rows(len(kwargs["inputs_embeds"] if input_ids is None else input_ids))
            if kwargs.get("position_ids") is None:  # else generate() has made them, perhaps with deltas of its own
                set_rope_deltas(self._parts.core, state.rope_deltas, state.rows)
        if self._recorder is not None:
            self._recorder.begin(kwargs.get("mm_encoder_outputs"))
        try:
            with self._exclusive:
                return self._core_output(forward, args, kwargs)
        finally:
            if self._recorder is not None:
                self._recorder.end()
            call.input_ids = call.padding_mask = call.state = call.static = None

    def _core_output(self, forward: Forward, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """What the core returns; compiled if generate() wants that and nothing is left to decide between layers."""
        settings, named = self._call.compiling, kwargs | dict(zip(("input_ids",), args, strict=False))
        if settings is None or len(args) > 1 or not self._steps.may_run(named):
            return forward(*args, **kwargs)
        cache, ids = named["past_key_values"], named["input_ids"]
        state, mask = self._begin(len(ids), ids.shape[1], cache), self._steps.first_mask(named)
        masks = state.masks(mask, cache, ids) if isinstance(state, DecodeState) else [None] * len(self._parts.layers)
        with under_plan(cache):
            return self._steps.run(forward, settings, masks, named)

    def _run_compiling(self, settings: CompileConfig, **inputs: Any) -> Any:
        """The model's call, where generate() would make one that is compiled."""
        self._call.compiling = settings
        try:
            return self._model(**inputs)
        finally:
            self._call.compiling = None

    def _run_layer(self, index: int, forward: Forward, hidden: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        cache = kwargs.get("past_key_values")
        if index == 0:
            self._call.state = self._begin(len(hidden), hidden.shape[1], cache)
        state = self._call.state
        with under_plan(cache):
            if state is None:
                return forward(hidden, **kwargs)  # type: ignore[no-any-return]
            if isinstance(state, DecodeState):
                return forward(hidden, **state.layer_arguments(index, hidden, kwargs))  # type: ignore[no-any-return]
            static = self._call.static
            inner = kwargs if static is None else static.arguments(kwargs)
            layer_input = state.enter_layer(index, hidden, inner)
            if state.freezes(index):
                output = run_frozen_layer(self._parts, index, forward, layer_input)
            else:
                arguments = state.layer_arguments(index, layer_input, inner)
                output = forward(layer_input.hidden, **(kwargs if arguments is inner else arguments))
            if static is not None:
                static.store(index)
            return state.leave_layer(index, output, cache)

    def _begin(self, rows: int, new: int, cache: Cache | None) -> PrefillState | DecodeState | None:
        """At layer 0: start a new prompt, or continue the one that the cache belongs to."""
        past = 0 if cache is None else int(cache.get_seq_length())  # a static cache counts in a tensor, in place
        call = self._call
        call.static = None
        layout = self._visual_layout(past)
        if layout is not None:
            check_cache_type(cache, past, self._parts)
        known = self._known_state(cache) if cache is not None and past else None
        cache_state = known or CacheState(self._parts, self.plan, RunRecord(self.plan, len(self._parts.layers), rows))
        record = cache_state.record
        if cache is not None and past:
            cache_state.check_cache(cache, past)
        static = cache if cache is not None and is_static(cache) else None
        if static is not None and (layout is not None or known is not None):
            check_window(static, past + new)
        state: PrefillState | DecodeState | None = None
        if layout is not None:
            if static is not None:
                call.static = StaticPrefill(static, new)
            state = PrefillState(self._parts, self.plan, cache_state, layout, past, self._sources())
            record.start_prefill()
        elif known is None:
            record.add_text_prompt(new, past)
        else:
            state = DecodeState(self._parts, cache_state, past, new)
            record.add_new_tokens(new)
        if known is None or layout is not None:
            cache_state.rope_deltas = rope_deltas(self._parts.core, rows)
        if cache is not None:
            track(cache, cache_state)
        if known is None or self._latest is None or self._latest.prompt == record.prompt:
            self._latest = record
        return state

    def _sources(self) -> Sources:
        return Sources(self.plan, self._recorder, self._call.input_ids)

    def _visual_layout(self, past: int) -> TokenLayout | None:
        """Which of the call's tokens are visual; None if it brings no images."""
        call = self._call
        if call.input_ids is None or (past and not call.has_images):
            return None
        layout = TokenLayout.find(call.input_ids, self._parts.visual_ids, call.padding_mask)
        return layout if layout.has_visual else None

    def _known_state(self, cache: Cache) -> CacheState | None:
        """What a cache in use holds by this plan; None if it holds the whole sequence, from before apply() or so."""
        state = state_of(cache)
        if state is None or state.plan == self.plan:
            return state
        if state.is_pruned:
            raise UnsupportedError(
                "this KV cache was pruned under another plan",
                got="; ".join(state.plan.describe()),
                expected="; ".join(self.plan.describe()),
                remedy="continue it under its own plan, or start a new cache",
            )
        return None
