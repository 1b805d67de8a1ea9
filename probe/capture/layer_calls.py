"""LayerCalls: one run of a prompt, layer by layer, from which any layer can be called again with something changed.

    calls = LayerCalls.record(model, inputs)
    calls.states[8]                      # (1, N, D), the input of layer 8

It holds what the model itself passed to its layers, and the L+1 hidden states of the run; no KV cache. The states can
be kept where they take no memory of the device (see `KeptStates`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from transformers import PreTrainedModel

from halfv_core.errors import DataError, UnsupportedError
from halfv_core.families import Family, Parts, parts_of
from halfv_core.placement import device_of
from halfv_core.runtime.patching import Forward, Wrap, by_name, wrapped
from probe.capture.kept_states import KeptStates


@dataclass(frozen=True)
class LayerCalls:
    """The run of one prompt of N tokens in a decoder of L layers of width D."""

    parts: Parts
    states: Sequence[torch.Tensor]
    """L+1 times (1, N, D), before the final norm; entry i is the input of layer i, entry L the last output."""
    arguments: tuple[Mapping[str, Any], ...]
    """The other arguments of each layer's call, without a cache."""
    features: tuple[torch.Tensor, ...]
    """(1, N, D) each: what the model adds to the outputs of layers 0, 1, ... (`Family.deepstack`); mostly empty."""

    @classmethod
    @torch.no_grad()
    def record(
        cls,
        model: PreTrainedModel,
        inputs: Mapping[str, torch.Tensor],
        *,
        family: Family | None = None,
        low_memory: bool = False,
    ) -> "LayerCalls":
        """Run the prompt once.

        Args:
            inputs: model inputs, batch of one.
            low_memory: see `KeptStates`.

        Raises:
            DataError: more than one prompt.
            UnsupportedError: FlashAttention with a prompt longer than the sliding window, which its masks do not tell;
                or the model changes what its head returns, as some classes do.
        """
        if inputs["input_ids"].shape[0] != 1:
            raise DataError("one prompt is recorded at a time", got=f"a batch of {inputs['input_ids'].shape[0]}")
        parts = parts_of(model, family)
        length = inputs["input_ids"].shape[1]
        if parts.flash and parts.window is not None and length > parts.window:
            raise UnsupportedError(
                "variants of a prompt beyond the sliding window need masks of queries by keys",
                got=f"{length} tokens, a window of {parts.window} and FlashAttention",
                remedy="load the model with attn_implementation='sdpa'",
            )
        states = KeptStates(low_memory=low_memory)
        arguments: list[Mapping[str, Any]] = []
        features: list[torch.Tensor] = []

        def around_layer(forward: Forward) -> Forward:
            @wraps(forward)
            def run(hidden: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
                kwargs = by_name(forward, args, kwargs)
                states.append(hidden)
                arguments.append(kwargs | {"past_key_values": None})
                output: torch.Tensor = forward(hidden, **kwargs)
                if len(states) == len(parts.layers):
                    states.append(output)
                return output

            return run

        def around_deepstack(add: Forward) -> Forward:
            @wraps(add)
            def run(hidden: torch.Tensor, *args: Any) -> Any:
                features.append(add(torch.zeros_like(hidden), *args))
                return add(hidden, *args)

            return run

        recording = [Wrap(layer, "forward", around_layer) for layer in parts.layers]
        if parts.deepstack is not None:
            recording.append(Wrap(parts.decoder, parts.deepstack, around_deepstack))
        with wrapped(recording, plan=False):
            logits = model(**inputs, use_cache=False, logits_to_keep=1).logits[0, -1]
        if not parts.is_tested:
            _check_head(parts, states[-1][:, -1:], logits)
        return cls(parts, states, tuple(arguments), tuple(features))

    @property
    def layers(self) -> int:
        """L."""
        return len(self.arguments)

    @property
    def length(self) -> int:
        """N."""
        return self.states[0].shape[1]

    def seen(self, layer: int) -> torch.Tensor:
        """(N, N) bool: which tokens, by column, each token sees in a layer."""
        mask: torch.Tensor | None = self.arguments[layer].get("attention_mask")
        causal = torch.ones(self.length, self.length, dtype=torch.bool, device=self.states[layer].device).tril()
        if mask is None:
            return causal
        mask = mask.to(causal.device)
        if mask.ndim == 2:  # padding alone, as FlashAttention takes it
            return causal & mask.bool()
        own = mask[0, 0]
        return own if own.dtype == torch.bool else own > torch.finfo(own.dtype).min / 2


def _check_head(parts: Parts, last: torch.Tensor, logits: torch.Tensor) -> None:
    """Refuse a model that scales or caps its logits, since logits of changed states are made by norm and head alone.

    Args:
        parts: of the model.
        last: (1, 1, D) state of the last token behind the last layer.
        logits: (vocabulary,) of that token.
    """
    made = parts.head(parts.norm(last.to(device_of(parts.norm))))[0, -1].to(logits.device)
    if float((made - logits).abs().max()) > _SCALED * float(logits.float().std()):
        raise UnsupportedError(
            "the model scales or caps its logits behind the head, which measurements of changed states do not know",
            remedy="run plans on it; its curves cannot be measured",
        )


_SCALED = 0.1
"""Largest difference between the model's logits and those of norm and head, relative to their spread."""
