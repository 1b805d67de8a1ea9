"""PromptView: one prompt of a batch, as selectors, merges and rules may look at it; see `Prompt`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch

from halfv_core.errors import UnsupportedError
from halfv_core.families.base import Parts
from halfv_core.placement import parts_callable
from halfv_core.precision import no_autocast, widened, widened_norm
from halfv_core.runtime.attention import project, rotate
from halfv_core.runtime.layer_input import LayerInput
from halfv_core.runtime.own_run import Heads, heads_of
from halfv_core.runtime.rotary_tables import of_row, of_tokens, on_device, turning_nothing
from halfv_core.runtime.token_slots import true_indices
from halfv_core.selectors.prompt import At, VisionReadings

Grids = Sequence[tuple[int, int, int]]


@dataclass(frozen=True)
class Surroundings:
    """What is at hand for all prompts of a batch where tokens are chosen, before the layer `layer`."""

    parts: Parts
    layer: int
    own: Callable[[], LayerInput]
    """The layer's input before the choice."""
    previous: LayerInput | None
    """The input of the layer before, or of the latest one with attention; None at layer 0, or if there is none, and
    after layers in which tokens were hidden."""
    previous_layer: int
    """Its index."""
    back: torch.Tensor | None
    """(B, n) slots of that layer that the own layer's slots were in; None if they are the same."""
    whole: torch.Tensor | None
    """(B, q, D) input of layer 0, of all tokens of the prefill; None if nobody reads it."""
    transitions: Callable[[int, torch.Tensor], torch.Tensor]
    """A row, and (n,) indices of tokens among the q -> (layers, 2, n); see `Prompt.transitions`."""
    token_ids: Callable[[int, torch.Tensor], torch.Tensor]
    """A row, and (k,) indices of tokens among the q -> (k,) their ids."""
    vision: Callable[[int, torch.Tensor], VisionReadings]
    """A row, and (V,) indices of visual tokens among the q -> what the vision tower saw there."""
    grids: Callable[[int], Grids]
    """A row -> see `Prompt.grids`."""
    unpruned: bool
    """Whether all tokens of the prefill are still there."""


class PromptView:
    """One row of the batch; everything is computed when it is asked for."""

    def __init__(self, around: Surroundings, row: int) -> None:
        self.finite: list[tuple[str, torch.Tensor]] = []
        """What was asked for, and () bool, whether these numbers are finite."""
        self._around = around
        self._row = row
        self._layer_input = around.own()
        slots = self._layer_input.slots
        self.device = self._layer_input.hidden.device
        self._slots = true_indices(slots.real[row : row + 1], slots.real_counts[row])[0]  # (n,)
        visual = slots.visual[row, self._slots]  # (n,) bool
        count = slots.visual_counts[row]
        self.visual = true_indices(visual[None], count)[0]  # (V,)
        self.text = true_indices(~visual[None], len(self._slots) - count)[0]  # (n - V,)

    @cached_property
    def question(self) -> torch.Tensor:
        return self.text[self.text > self.visual[-1]]

    def question_ids(self) -> torch.Tensor:
        return self._around.token_ids(self._row, self._indices[self.question])

    @property
    def grids(self) -> Grids:
        if not self._around.unpruned:
            raise UnsupportedError(
                "the place of visual tokens on the image is known only before the first of them are pruned",
                got=f"a choice at layer {self._around.layer}, after another",
                remedy="use this selector for the first Keep of the plan",
            )
        return self._around.grids(self._row)

    def hidden(self, of: Literal["own", "previous", "input"] = "own") -> torch.Tensor:
        if of == "input":
            assert self._around.whole is not None, "a selector that reads the input says so in `reads`"
            return self._around.whole[self._row].to(self.device)[self._indices]
        return self._noted("hidden states", self._input_of(of).hidden[self._row, self._slots_at(of)])

    def normed_hidden(self) -> torch.Tensor:
        return widened_norm(self._around.parts.norm, self.hidden()[None])[0].to(self.device)

    def next_token(self, of: At = "own") -> torch.Tensor:
        parts = self._around.parts
        last = self.hidden(of)[None, -1:]  # (1, 1, D)
        logits: torch.Tensor = parts.head(parts.norm(last))
        return logits[0, 0].argmax().to(self.device)

    def queries(self, tokens: torch.Tensor, at: At = "previous", *, rope: bool = True) -> torch.Tensor:
        return self._projected("q", at, self._slots_at(at)[tokens], rope)

    def keys(self, at: At = "previous", *, rope: bool = True) -> torch.Tensor:
        return self._projected("k", at, None, rope)

    def values(self, at: At = "previous") -> torch.Tensor:
        return self._projected("v", at, None, rope=False)

    def attention(self, tokens: torch.Tensor, at: At = "previous") -> torch.Tensor:
        logits, living = self._logits(tokens, at)
        return logits.softmax(-1)[..., living]

    def attention_logits(self, tokens: torch.Tensor, at: At = "previous") -> torch.Tensor:
        logits, living = self._logits(tokens, at)
        return logits[..., living]

    def _logits(self, tokens: torch.Tensor, at: At) -> tuple[torch.Tensor, torch.Tensor]:
        """(H, q, m) scaled logits at all m tokens of the layer, -inf at what is not seen; and where the n tokens are.

        Tokens that an earlier choice at the same layer has pruned were attended to in the layer before.
        """
        slots = self._input_of(at).slots
        everything = true_indices(slots.real[self._row : self._row + 1], slots.real_counts[self._row])[0]  # (m,)
        queries, keys = self.queries(tokens, at), self._projected("k", at, everything, rope=True)
        grouped = queries.reshape(len(keys), -1, queries.shape[2])  # (H_kv, H / H_kv * q, d)
        with no_autocast(self.device):
            logits = (grouped @ keys.mT).view(len(queries), -1, keys.shape[1])  # (H, q, m)
        scaling = self._scaling(at)
        seen = self._visible_to(self._slots_at(at)[tokens], everything, at)
        return (logits * scaling).masked_fill(~seen, -torch.inf), torch.searchsorted(everything, self._slots_at(at))

    def rotary(self) -> tuple[torch.Tensor, torch.Tensor]:
        rotary = self._layer_input.tables.rotary
        if not isinstance(rotary, tuple):
            raise UnsupportedError(
                "this selector reads cosines and sines of positions, which the decoder does not have",
                remedy="use another selector",
            )
        cos, sin = rotary
        row = min(self._row, len(cos) - 1)
        return cos[row, self._slots].to(self.device), sin[row, self._slots].to(self.device)

    def transitions(self) -> torch.Tensor:
        return self._around.transitions(self._row, self._indices).to(self.device)

    def vision(self) -> VisionReadings:
        return self._around.vision(self._row, self._indices[self.visual])

    @property
    def _indices(self) -> torch.Tensor:
        """(n,) indices of the tokens among the q tokens of the prefill."""
        return self._layer_input.tables.indices[self._row, self._slots]

    def _input_of(self, at: At) -> LayerInput:
        if at == "own":
            return self._layer_input
        if self._around.previous is None:
            raise UnsupportedError(f"the visual tokens do not go through the layer before layer {self._around.layer}")
        return self._around.previous

    def _slots_at(self, at: At) -> torch.Tensor:
        """(n,) slots of the tokens in a layer's input."""
        back = self._around.back
        return self._slots if at == "own" or back is None else back[self._row, self._slots]

    def _index_of(self, at: At) -> int:
        return self._around.previous_layer if at == "previous" else self._around.layer

    def _scaling(self, at: At) -> float:
        if self._around.parts.is_plain:
            return float(self._around.parts.layers[self._index_of(at)].self_attn.scaling)
        return self._heads(at, self._slots_at(at)[-1:], rope=True).scaling

    def _heads(self, at: At, slots: torch.Tensor, rope: bool) -> Heads:
        """What the layer's attention kernel would get for the tokens in some slots, (k,)."""
        given, parts = self._input_of(at), self._around.parts
        arguments = given.tables.of_row(given.arguments, self._row, slots)
        if not rope and "position_embeddings" in arguments:
            arguments["position_embeddings"] = turning_nothing(arguments["position_embeddings"])
        hidden = given.hidden[self._row, slots][None]
        return heads_of(parts, parts.layers[self._index_of(at)], hidden, arguments)

    def _projected(self, projection: str, at: At, slots: torch.Tensor | None, rope: bool) -> torch.Tensor:
        """(heads, k, d) float32 of the tokens in these slots of a layer's input, by default of the n tokens."""
        parts, layer = self._around.parts, self._around.parts.layers[self._index_of(at)]
        if parts.ranks.group is not None:
            raise UnsupportedError(
                "this selector or probe looks at single heads, which tensor parallelism has put into several processes",
                remedy="run the model in one process, or use anchor_coverage or attention, or a probe without heads",
            )
        slots = self._slots_at(at) if slots is None else slots
        if parts.is_plain:
            tables = self._input_of(at).tables
            states = self._input_of(at).hidden[self._row, slots]  # (k, D)
            with parts_callable(layer):
                made = project(layer.self_attn, projection, layer.input_layernorm(states[None]))
            if rope:
                rotary = of_tokens(of_row(tables.rotary, self._row), slots[None])
                made = rotate(parts, made, on_device(rotary, made.device))
        else:
            heads = self._heads(at, slots, rope)
            made = {"q": heads.queries, "k": heads.keys, "v": heads.values}[projection]
        return self._noted("queries, keys or values", widened(made[0]).to(self.device))

    def _noted(self, what: str, numbers: torch.Tensor) -> torch.Tensor:
        self.finite.append((what, numbers.isfinite().all()))
        return numbers

    def _visible_to(self, queries: torch.Tensor, keys: torch.Tensor, at: At) -> torch.Tensor:
        """(q, m) bool: which of the tokens in the slots `keys` each of those in the slots `queries` sees."""
        layer_input = self._input_of(at)
        mask = layer_input.tables.mask
        if mask is None or mask.ndim == 2:  # the kernel is causal
            return keys <= queries[:, None]
        own = mask[min(self._row, len(mask) - 1), 0, :, -layer_input.slots.length :].to(self.device)
        own = own[queries][:, keys]
        return own if own.dtype == torch.bool else own > torch.finfo(own.dtype).min / 2
