"""apply(): run a Hugging Face model under a plan, and leave it as it was.

with apply(model, profile) as run:
    out = model.generate(**inputs)
run.kept[2], run.cost.flops_ratio
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial, wraps
from threading import Lock, local
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import Cache, PreTrainedModel

from halfv_core.cost import Cost, DecoderShape
from halfv_core.errors import UnsupportedError
from halfv_core.families.base import Family, Parts, parts_of
from halfv_core.plan import Plan
from halfv_core.profile import Profile
from halfv_core.runtime.freeze import run_frozen
from halfv_core.runtime.layout import TokenLayout
from halfv_core.runtime.patching import Forward, Wrap, wrapped
from halfv_core.runtime.prefill_state import PrefillState, check_cache
from halfv_core.runtime.run_record import RunRecord

_KERNELS = ("eager", "sdpa")


@contextmanager
def apply(model: PreTrainedModel, plan: Profile | Plan, *, family: Family | None = None) -> Iterator["Run"]:
    """Run the model under a plan inside the block; exact no-op for a plan that does nothing, and undone on exit.

    Works through `forward()` and `generate()`. Each row of a batch is pruned by its own last token, as if there were no
    other, and text-only rows are left alone; images in a later turn are pruned by the last token of their turn. Without
    a cache every call is a prompt of its own.

    Pruned positions carry zeros in the decoder's last hidden state, so logits keep the prompt's length; those at pruned
    positions mean nothing, so `labels` must be -100 at the token after a visual one. `output_hidden_states` gives what
    each layer handed on: after a Keep only the tokens that go on, (B, n, D), and the last of them in full length.

    Args:
        plan: a plan, or the profile that holds it; a profile is checked against the model's config first.
        family: description of the model, when no registered one fits.

    Yields:
        The `Run`, whose `kept` and `cost` tell about the latest prompt.

    Raises:
        ProfileError: the profile was made for another model.
        PlanError: the plan names a layer that the model does not have.
        ModelError: the model's family is not known, or an access point is missing.
        UnsupportedError: attention kernel, cache or input that the runtime does not handle; a plan is applied already.
    """
    if hasattr(model, "_orig_mod") or getattr(model, "_compiled_call_impl", None) is not None:
        raise UnsupportedError("a compiled model cannot run under a plan", remedy="apply to the model as it was loaded")
    if isinstance(plan, Profile):
        plan.check_model(model.config)
        plan = plan.plan
    parts = parts_of(model, family)
    plan.check_depth(len(parts.layers))
    _check_kernel(parts)
    run = Run(parts, plan)
    with wrapped([*run.wraps(), Wrap(model, "generate", _checked_generate)]):
        yield run


def _checked_generate(generate: Forward) -> Forward:
    """generate() that refuses what puts guesses into the prompt, whose last token then is not the user's."""

    @wraps(generate)
    def run_generate(*args: Any, **kwargs: Any) -> Any:
        config = kwargs.get("generation_config")
        guessed = [kwargs.get("prompt_lookup_num_tokens"), getattr(config, "prompt_lookup_num_tokens", None)]
        if kwargs.get("assistant_model") is not None or any(guessed):
            raise UnsupportedError("assisted decoding cannot run under a plan", remedy="leave out the assistant")
        return generate(*args, **kwargs)

    return run_generate


def _check_kernel(parts: Parts) -> None:
    kernel = parts.decoder.config._attn_implementation
    if kernel not in _KERNELS and not parts.flash:
        raise UnsupportedError(
            "this attention kernel is not supported",
            got=kernel,
            expected=f"{', '.join(_KERNELS)} or a flash_attention",
            remedy="load the model with attn_implementation='sdpa'",
        )


class _Call(local):
    """The forward call that is under way in a thread."""

    layout: TokenLayout | None = None
    has_images = False
    passage: PrefillState | None = None


class Run:
    """The state of one `apply()`, and what it did to the latest prompt.

    Threads may call the model at once, each with prompts and caches of its own; the latest prompt is the one that any
    of them began last.
    """

    def __init__(self, parts: Parts, plan: Plan) -> None:
        self._parts = parts
        self._plan = plan
        self._call = _Call()
        # Frozen layers change the kernel that all layers share, so then calls go one after the other.
        self._one_by_one = Lock() if parts.flash and plan.frozen_layers else nullcontext()
        self._by_cache: WeakKeyDictionary[Cache, PrefillState] = WeakKeyDictionary()
        self._latest: RunRecord | None = None

    @property
    def kept(self) -> dict[int, list[torch.Tensor]]:
        """By layer of each Keep: for each batch row the (kept,) ascending positions of the visual tokens kept there."""
        return {} if self._latest is None else self._latest.kept

    @property
    def anchors(self) -> dict[int, list[torch.Tensor]]:
        """Likewise, in any order, of those among them that attention chose; the others were kept for another reason."""
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
        """What to wrap: the core, where token ids come in, every decoder layer, and what is added between them."""

        def around_core(forward: Forward) -> Forward:
            @wraps(forward)
            def run_core(*args: Any, **kwargs: Any) -> Any:
                return self._run_core(forward, *args, **kwargs)

            return run_core

        def around_layer(index: int, forward: Forward) -> Forward:
            @wraps(forward)
            def run_layer(hidden_states: torch.Tensor, **kwargs: Any) -> torch.Tensor:
                return self._run_layer(index, forward, hidden_states, **kwargs)

            return run_layer

        def around_deepstack(add: Forward) -> Forward:
            @wraps(add)
            def run_deepstack(hidden: torch.Tensor, *args: Any) -> torch.Tensor:
                passage = self._call.passage
                if passage is None:
                    return add(hidden, *args)  # type: ignore[no-any-return]
                return passage.add_deepstack(hidden, lambda whole: add(whole, *args))

            return run_deepstack

        deepstack = self._parts.deepstack
        between = [] if deepstack is None else [Wrap(self._parts.decoder, deepstack, around_deepstack)]
        layers = [
            Wrap(layer, "forward", partial(around_layer, index)) for index, layer in enumerate(self._parts.layers)
        ]
        return [Wrap(self._parts.core, "forward", around_core), *layers, *between]

    def _run_core(self, forward: Forward, *args: Any, **kwargs: Any) -> Any:
        input_ids = args[0] if args else kwargs.get("input_ids")
        call = self._call
        # generate() hands on what the vision tower made of the pixels, and an empty dict where there are none.
        call.has_images = bool(kwargs.get("mm_encoder_outputs")) or any(
            kwargs.get(name) is not None for name in ("pixel_values", "pixel_values_videos")
        )
        if input_ids is not None:
            call.layout = TokenLayout.find(input_ids, self._parts.visual_ids, _two_dimensional(kwargs, input_ids))
        elif kwargs.get("past_key_values") is None or kwargs["past_key_values"].get_seq_length() == 0:
            raise UnsupportedError("visual tokens cannot be found in inputs_embeds", remedy="pass input_ids")
        try:
            with self._one_by_one:
                return forward(*args, **kwargs)
        finally:
            call.layout = call.passage = None

    def _run_layer(self, index: int, forward: Forward, hidden: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        cache = kwargs.get("past_key_values")
        if index == 0:
            self._call.passage = self._enter(hidden, cache)
        passage = self._call.passage
        if passage is None:
            return forward(hidden, **kwargs)  # type: ignore[no-any-return]
        if not passage.in_turn:
            return forward(hidden, **passage.continue_arguments(index, cache, kwargs))  # type: ignore[no-any-return]
        step = passage.arrive(index, hidden, cache, kwargs)
        if passage.freezes(index):
            output = run_frozen(self._parts, index, forward, step, kwargs)
        else:
            output = forward(step.hidden, **passage.arguments(index, step, kwargs))
        return passage.leave(index, output)

    def _enter(self, hidden: torch.Tensor, cache: Cache | None) -> PrefillState | None:
        """At layer 0: begin a prompt, or go on with the one that this cache belongs to; None where the plan is idle."""
        past = 0 if cache is None else cache.get_seq_length()
        layout = self._call.layout
        if cache is not None and past:
            return self._go_on(layout, hidden, cache, past)
        rows, length = hidden.shape[:2]
        self._latest = ledger = RunRecord(self._plan, len(self._parts.layers), rows)
        passage = PrefillState(self._parts, self._plan, ledger)
        if cache is not None:
            self._by_cache[cache] = passage
        if layout is None or not layout.has_visual:
            ledger.text_prompt(rows, length)
            return None
        check_cache(cache)
        passage.begin(layout, past)
        return passage

    def _go_on(self, layout: TokenLayout | None, hidden: torch.Tensor, cache: Cache, past: int) -> PrefillState | None:
        """More tokens for a cache that is in use; images among them are pruned as those of the prompt were."""
        passage = self._by_cache.get(cache)
        if passage is None:
            return None
        if self._call.has_images and layout is not None and layout.has_visual:
            check_cache(cache)
            passage.ledger.next_turn()
            passage.begin(layout, past)
        else:
            passage.go_on(past, hidden.shape[1])
            passage.ledger.decode(hidden.shape[1])
        return passage


def _two_dimensional(kwargs: dict[str, Any], input_ids: torch.Tensor) -> torch.Tensor | None:
    """The padding mask of these tokens; a prepared 4-D mask says nothing about padding."""
    mask = kwargs.get("attention_mask")
    if not isinstance(mask, torch.Tensor) or mask.ndim != 2:
        return None
    return mask[:, -input_ids.shape[1] :]
