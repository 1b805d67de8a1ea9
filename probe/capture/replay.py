"""Replay: one prompt's full run, kept, so that variants of it can begin in the middle instead of at the first pixel.

    replay = Replay(model, inputs)
    with replay.from_layer(8), apply(model, Plan((Keep(layer=8, keep_ratio=0.25),))):
        model(**inputs, use_cache=True)      # vision tower and layers 0-7 are not run again

A plan changes nothing before its first intervention, so such a run equals a whole one bit for bit.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial, wraps
from typing import Any

import torch
from transformers import Cache, PreTrainedModel

from halfv_core.errors import DataError
from halfv_core.families import Family, parts_of
from halfv_core.runtime.patching import Forward, Wrap, wrapped


class Replay:
    """A prompt that has run. It serves until another prompt runs: some models remember where the latest one ended."""

    @torch.no_grad()
    def __init__(
        self, model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], *, family: Family | None = None
    ) -> None:
        """Run the prompt.

        Args:
            inputs: model inputs, batch of one.

        Raises:
            DataError: more than one prompt.
        """
        if inputs["input_ids"].shape[0] != 1:
            raise DataError("a replay is of one prompt", got=f"a batch of {inputs['input_ids'].shape[0]}")
        self._parts = parts_of(model, family)
        self._outputs: list[torch.Tensor] = []  # of each layer, (1, N, D)
        self._decoder_call: dict[str, Any] = {}
        self._core_output: Any = None
        listening = [
            Wrap(self._parts.core, "forward", partial(_listen, self._note_core)),
            Wrap(self._parts.decoder, "forward", partial(_listen, self._note_decoder)),
            *(Wrap(layer, "forward", partial(_listen, self._note_layer)) for layer in self._parts.layers),
        ]
        with wrapped(listening, plan=False):
            output = model(**inputs, use_cache=True, logits_to_keep=1)
        self.logits: torch.Tensor = output.logits[0, -1]
        """(vocabulary,) of the last prompt token."""
        self.cache: Cache = output.past_key_values
        """Keys and values of the prompt; read, never written to."""

    def _note_core(self, kwargs: dict[str, Any], output: Any) -> None:
        self._core_output = output

    def _note_decoder(self, kwargs: dict[str, Any], output: Any) -> None:
        self._decoder_call = kwargs

    def _note_layer(self, kwargs: dict[str, Any], output: Any) -> None:
        self._outputs.append(output)

    @contextmanager
    def from_layer(self, layer: int) -> Iterator[None]:
        """Inside the block a prefill of the same prompt, with a cache of its own, runs from `layer` on."""
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
            given = {name: kwargs[name] for name in ("past_key_values", "use_cache") if name in kwargs}
            found = self._parts.decoder(**self._decoder_call | given)
            return replace(
                self._core_output, last_hidden_state=found.last_hidden_state, past_key_values=found.past_key_values
            )

        return run

    def _around_layer(self, index: int, forward: Forward) -> Forward:
        @wraps(forward)
        def run(hidden: torch.Tensor, **kwargs: Any) -> torch.Tensor:
            cache = kwargs.get("past_key_values")
            if cache is not None and cache.get_seq_length(index):
                return forward(hidden, **kwargs)  # type: ignore[no-any-return]
            if cache is not None:
                kept: Any = self.cache.layers[index]
                cache.update(kept.keys, kept.values, index)
            return self._outputs[index]

        return run


def _listen(note: Any, forward: Forward) -> Forward:
    @wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        note(kwargs, output)
        return output

    return run
