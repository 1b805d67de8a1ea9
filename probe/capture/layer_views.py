"""The full model's prompt at every layer, as selectors look at it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial, wraps
from typing import Any, TypeVar

import torch
from transformers import PreTrainedModel

from halfv_core.families import Family, Parts, parts_of
from halfv_core.placement import device_of
from halfv_core.runtime.layer_input import LayerInput, LayerTables
from halfv_core.runtime.layout import TokenLayout
from halfv_core.runtime.patching import Forward, Wrap, by_name, wrapped
from halfv_core.runtime.prompt_view import PromptView, Surroundings
from halfv_core.runtime.rotary_tables import on_device
from halfv_core.runtime.token_slots import TokenSlots
from halfv_core.selectors.prompt import At, Prompt

T = TypeVar("T")


class _SharedView(PromptView):
    """Of all who look at a layer, only the first has its keys and values made."""

    def __init__(self, around: Surroundings, row: int) -> None:
        super().__init__(around, row)
        self._made: dict[tuple[str, bool], torch.Tensor] = {}

    def _projected(self, projection: str, at: At, slots: torch.Tensor | None, rope: bool) -> torch.Tensor:
        if projection == "q":  # of some tokens; keys and values are of all, since none is pruned
            return super()._projected(projection, at, slots, rope)
        if (projection, rope) not in self._made:
            self._made[projection, rope] = super()._projected(projection, at, slots, rope)
        return self._made[projection, rope]


@torch.no_grad()
def at_every_layer(
    model: PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    look: Callable[[Prompt], T],
    *,
    also: Sequence[Wrap] = (),
    family: Family | None = None,
) -> list[T]:
    """Run a prompt once, and look at it at the input of each layer.

    Args:
        inputs: model inputs, batch of one.
        look: gets the prompt, of which it may read the layer's own states, queries, keys, values and attention.
        also: other methods to wrap in this run, which must not change what the model computes.

    Returns:
        What `look` returned at each of the L layers.
    """
    parts = parts_of(model, family)
    layout = TokenLayout.find(inputs["input_ids"], parts.visual_ids, inputs.get("attention_mask"))
    found: list[T] = []

    def around(layer: int, forward: Forward) -> Forward:
        @wraps(forward)
        def run(hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            kwargs = by_name(forward, args, kwargs)
            found.append(look(_view(parts, layer, layer_input_of(parts, layer, layout, hidden, kwargs))))
            return forward(hidden, **kwargs)

        return run

    looking = [Wrap(module, "forward", partial(around, layer)) for layer, module in enumerate(parts.layers)]
    with wrapped([*looking, *also], plan=False):
        model(**inputs, use_cache=False, logits_to_keep=1)
    return found


def layer_input_of(
    parts: Parts, layer: int, layout: TokenLayout, hidden: torch.Tensor, kwargs: Mapping[str, Any]
) -> LayerInput:
    """What enters a layer in a run of the full model.

    Args:
        layout: of the prompt.
        hidden: (1, N, D), the layer's input.
        kwargs: the other arguments of the layer's call.
    """
    # With layers on several devices, accelerate moves a layer's inputs only after this wrapper.
    device = device_of(parts.layers[layer])
    mask = kwargs.get("attention_mask")
    here = TokenLayout(layout.visual.to(device), layout.real.to(device))
    # All visual tokens are shown, also one at the end of the prompt, which no plan prunes.
    slots = replace(TokenSlots.all_of(here, past=0), visual=here.visual, visual_counts=here.counts.visual)
    mask = None if mask is None else mask.to(device)
    tables = LayerTables(
        rotary=on_device(kwargs.get("position_embeddings"), device),
        mask=mask,
        slots=slots,
        past=0,
        new=layout.length,
        dtype=hidden.dtype,
    )
    return LayerInput(hidden.to(device), tables, kwargs)


def _view(parts: Parts, layer: int, layer_input: LayerInput) -> PromptView:
    def absent(*_: Any) -> Any:
        raise NotImplementedError("only the layer's own states are at hand")

    around = Surroundings(
        parts=parts,
        layer=layer,
        own=lambda: layer_input,
        previous=None,
        previous_layer=layer - 1,
        back=None,
        whole=None,
        transitions=absent,
        token_ids=absent,
        vision=absent,
        grids=absent,
        unpruned=True,
    )
    return _SharedView(around, 0)
