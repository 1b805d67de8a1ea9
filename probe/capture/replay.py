"""Replay: keeps the full run of one prompt, so that variants of it can start at a later layer.

    replay = Replay(model, inputs)
    with replay.from_layer(8), apply(model, Plan((Keep(layer=8, keep_ratio=0.25),))):
        model(**inputs, use_cache=True)      # does not run the vision tower and layers 0-7 again

A plan changes nothing before its first intervention, so such a run equals a complete one bit for bit.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial, wraps
from typing import Any

import torch
from transformers import Cache, PreTrainedModel

from halfv_core.errors import DataError
from halfv_core.families import Family, parts_of
from halfv_core.runtime.patching import Forward, Wrap, wrapped
from probe.capture.kept_states import KeptStates


class Replay:
    """The full run of one prompt, valid until the model runs another one: some models remember its position offset."""

    @torch.no_grad()
    def __init__(
        self,
        model: PreTrainedModel,
        inputs: Mapping[str, torch.Tensor],
        *,
        family: Family | None = None,
        low_memory: bool = False,
    ) -> None:
        """Run the prompt.

        Args:
            inputs: model inputs, batch of one.
            low_memory: see `KeptStates`; the layers' outputs, keys and values are kept so.

        Raises:
            DataError: more than one prompt.
        """
        if inputs["input_ids"].shape[0] != 1:
            raise DataError("a replay is of one prompt", got=f"a batch of {inputs['input_ids'].shape[0]}")
        self._parts = parts_of(model, family)
        self._outputs = KeptStates(low_memory=low_memory)  # one per layer, (1, N, D)
        self._decoder_call: dict[str, Any] = {}
        self._core_output: Any = None
        recording = [
            Wrap(self._parts.core, "forward", partial(_record, self._record_core)),
            Wrap(self._parts.decoder, "forward", partial(_record, self._record_decoder)),
            *(Wrap(layer, "forward", partial(_record, self._record_layer)) for layer in self._parts.layers),
        ]
        with wrapped(recording, plan=False):
            output = model(**inputs, use_cache=True, logits_to_keep=1)
        self.logits: torch.Tensor = output.logits[0, -1]
        """(vocabulary,), at the last prompt token."""
        self._keys, self._values = KeptStates(low_memory=low_memory), KeptStates(low_memory=low_memory)
        self._states: dict[int, Any] = {}  # caches of layers with a running state
        self._passed: dict[int, int] = {}  # tokens that went into the caches of sliding layers
        for index, layer in enumerate(output.past_key_values.layers):
            if index in self._parts.recurrent:
                self._states[index] = layer
            elif getattr(layer, "is_sliding", False):
                self._passed[index] = layer.cumulative_length
            self._keys.append(getattr(layer, "keys", output.logits))
            self._values.append(getattr(layer, "values", output.logits))

    def _record_core(self, kwargs: dict[str, Any], output: Any) -> None:
        self._core_output = output

    def _record_decoder(self, kwargs: dict[str, Any], output: Any) -> None:
        self._decoder_call = kwargs

    def _record_layer(self, kwargs: dict[str, Any], output: Any) -> None:
        self._outputs.append(output)

    @contextmanager
    def from_layer(self, layer: int) -> Iterator[None]:
        """Inside the block, a prefill of the same prompt with a new KV cache starts at `layer`."""
        before = [
            Wrap(module, "forward", partial(self._around_layer, index))
            for index, module in enumerate(self._parts.layers[:layer])
        ]
        with wrapped([Wrap(self._parts.core, "forward", self._around_core), *before], plan=False):
            yield

    def _around_core(self, forward: Forward) -> Forward:
        @wraps(forward)
        def run(*args: Any, **kwargs: Any) -> Any:
            cache = kwargs.get("past_key_values")
            if cache is not None and cache.get_seq_length():
                return forward(*args, **kwargs)
            own_cache = {name: kwargs[name] for name in ("past_key_values", "use_cache") if name in kwargs}
            output = self._parts.decoder(**self._decoder_call | own_cache)
            return replace(
                self._core_output, last_hidden_state=output.last_hidden_state, past_key_values=output.past_key_values
            )

        return run

    def _around_layer(self, index: int, forward: Forward) -> Forward:
        @wraps(forward)
        def run(hidden: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            cache = kwargs.get("past_key_values")
            if cache is not None and self._is_in_use(cache, index):
                return forward(hidden, *args, **kwargs)  # type: ignore[no-any-return]
            if cache is not None:
                self._fill(cache, index)
            return self._outputs[index]

        return run

    def _is_in_use(self, cache: Cache, index: int) -> bool:
        """Whether a layer's cache holds something already."""
        if index in self._states:
            return bool(cache.has_previous_state(index))
        return cache.get_seq_length(index) > 0

    def _fill(self, cache: Any, index: int) -> None:
        """Put into a layer's cache what the full run has left there."""
        if index in self._states:
            cache.layers[index] = deepcopy(self._states[index])
            return
        cache.update(self._keys[index], self._values[index], index)
        if index in self._passed:
            cache.layers[index].cumulative_length = self._passed[index]


def _record(record: Any, forward: Forward) -> Forward:
    @wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        record(kwargs, output)
        return output

    return run
