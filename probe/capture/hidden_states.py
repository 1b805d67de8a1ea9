"""Hidden states of one prompt at every layer, through nnsight; the only file that imports it."""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import NamedTuple

import torch
from nnsight import NNsight
from transformers import PreTrainedModel

from halfv_core.errors import DataError
from halfv_core.families import Family, family_of, parts_of
from halfv_core.placement import device_of
from halfv_core.runtime.layout import TokenLayout
from halfv_core.runtime.patching import instrumented
from halfv_core.wrappers import plain_model


class Capture(NamedTuple):
    """The hidden states of one prompt with N tokens in a decoder with L layers."""

    hidden: torch.Tensor
    """(L+1, N, D); entry i is the input of layer i, entry L the output of the last layer."""
    visual: torch.Tensor
    """(N,) bool, True for visual tokens."""


class _Traced(NNsight):  # type: ignore[misc]
    @property
    def device(self) -> torch.device:
        """Where nnsight sends the inputs. Its own answer is the meta device if the first weights are offloaded."""
        return device_of(self._module)


@torch.no_grad()
def capture(
    model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], *, normed: bool = True, family: Family | None = None
) -> Capture:
    """Run the prompt once and read the hidden states at the input of every layer and after the last one.

    Args:
        inputs: model inputs, batch of one; padding positions are left out of the result.
        normed: apply the model's final norm to every hidden state, as the entropies expect.

    Raises:
        DataError: more than one prompt.
    """
    states: list[torch.Tensor] = []
    visual = each_state(model, inputs, states.append, family=family)
    states_of_prompt = Capture(torch.stack(states), visual)
    return final_normed(model, states_of_prompt, family=family) if normed else states_of_prompt


@torch.no_grad()
def each_state(
    model: PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    look: Callable[[torch.Tensor], None],
    *,
    family: Family | None = None,
) -> torch.Tensor:
    """Run the prompt once, and look at the hidden states as they come; what `look` does not keep is gone.

    Args:
        inputs: model inputs, batch of one; padding positions are left out.
        look: gets the input of each layer in turn, then the output of the last one, (N, D) each, before the final norm
            and on one device.

    Returns:
        (N,) bool, True for visual tokens.

    Raises:
        DataError: more than one prompt.
    """
    if inputs["input_ids"].shape[0] != 1:
        raise DataError("capture takes one prompt at a time", got=f"a batch of {inputs['input_ids'].shape[0]}")
    # Before the default: parts_of takes a family that it is given for one described by hand.
    parts = parts_of(model, family)
    family = family or family_of(model)
    layout = TokenLayout.find(inputs["input_ids"], parts.visual_ids, inputs.get("attention_mask"))
    real = layout.real[0]
    whole = bool(real.all())

    def show(state: torch.Tensor) -> None:
        state = state[0].to(real.device)
        look(state if whole else state[real])

    with instrumented(plain_model(model), _Traced, parts.layers) as traced:
        decoder = attrgetter(family.decoder)(traced)
        with traced.trace(**inputs, use_cache=False, logits_to_keep=1):
            for layer in decoder.layers:
                show(layer.input)
            show(decoder.layers[-1].output)
    return layout.visual[0, real]


@torch.no_grad()
def final_normed(model: PreTrainedModel, states: Capture, *, family: Family | None = None) -> Capture:
    """The same states after the model's final norm, bit for bit those of `capture(..., normed=True)`."""
    norm = parts_of(model, family).norm
    return states._replace(hidden=torch.stack([norm(state) for state in states.hidden]))
