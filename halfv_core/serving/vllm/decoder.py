"""One step of vLLM through the decoder under a plan.

A step has tokens of many requests, one after the other: whole prompts, parts of prompts, and single tokens of answers.
Until the last token of a prompt is there, its visual tokens cannot be ranked. So the parts of a prompt that come first
go through the layers before the first Keep, wait there, and go on together with the last part.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch

from halfv_core.errors import RunError, UnsupportedError
from halfv_core.interventions import Keep
from halfv_core.plan import Plan
from halfv_core.runtime.choosing import check_finite, choose
from halfv_core.runtime.layer_input import LayerInput, LayerTables
from halfv_core.runtime.prompt_view import Surroundings
from halfv_core.runtime.token_slots import TokenSlots
from halfv_core.serving.vllm.attention import LayerGroup, Queries, fill_cache
from halfv_core.serving.vllm.parts import parts_of_decoder, rotary_tables
from halfv_core.serving.vllm.requests import Chunk, Request, Span, Step, visual_left


class Tokens(NamedTuple):
    """Tensors with an entry for each of n tokens in a layer."""

    hidden: torch.Tensor
    """(n, D) as they enter the layer."""
    previous: torch.Tensor
    """(n, D) as they entered the layer before; at layer 0 the same."""
    positions: torch.Tensor
    """(n,) or (3, n) rotary positions."""
    features: torch.Tensor
    """(levels, n, D) vision features that the model adds after its first layers; no levels in most models."""
    origin: torch.Tensor
    """(n,) index of the token among those of the step; -1 for one of an earlier step."""

    def waiting(self) -> "Tokens":
        """The same tokens for a later step, in which vLLM uses the tensors of this one for something else."""
        hidden, previous, positions, features = (tensor.clone() for tensor in self[:4])
        return Tokens(hidden, previous, positions, features, torch.full_like(self.origin, -1))

    def at(self, where: torch.Tensor | slice) -> "Tokens":
        """Some of the tokens."""
        return Tokens(
            self.hidden[where],
            self.previous[where],
            self.positions[..., where],
            self.features[:, where],
            self.origin[where],
        )

    @classmethod
    def joined(cls, parts: Sequence["Tokens"]) -> "Tokens":
        """Tokens of one part after the other."""
        hidden, previous, positions, features, origin = zip(*parts, strict=True)
        return cls(
            torch.cat(hidden), torch.cat(previous), torch.cat(positions, -1), torch.cat(features, 1), torch.cat(origin)
        )


class Batch:
    """The tokens of a step that go through the present layer, request after request."""

    def __init__(self, chunks: Sequence[Chunk], tokens: Tokens) -> None:
        self.chunks = chunks
        self.tokens = tokens

    def by_request(self) -> list[tuple[Chunk, Tokens]]:
        """The tokens of each request."""
        found, start = [], 0
        for chunk in self.chunks:
            end = start + len(chunk.index)
            found.append((chunk, self.tokens.at(slice(start, end))))
            start = end
        return found

    @cached_property
    def visual(self) -> torch.Tensor:
        """(n,) bool on the CPU: visual tokens that may be pruned or frozen."""
        return torch.cat([chunk.visual for chunk in self.chunks])

    @cached_property
    def text(self) -> torch.Tensor:
        """Indices of the other tokens, on the device."""
        return (~self.visual).nonzero()[:, 0].to(self.tokens.hidden.device)

    @cached_property
    def frozen(self) -> torch.Tensor:
        """Indices of the tokens that a frozen layer does not update, on the device."""
        return self.visual.nonzero()[:, 0].to(self.tokens.hidden.device)

    @cached_property
    def queries(self) -> Queries:
        """All tokens."""
        return self._queries([chunk.span for chunk in self.chunks])

    @cached_property
    def text_queries(self) -> Queries:
        """The tokens that are not frozen."""
        return self._queries([span for chunk in self.chunks for span in chunk.runs(~chunk.visual)])

    @cached_property
    def frozen_queries(self) -> Queries:
        """The tokens that a frozen layer does not update."""
        return self._queries([span for chunk in self.chunks for span in chunk.runs(chunk.visual)])

    def _queries(self, spans: Sequence[Span]) -> Queries:
        return Queries(spans, self.tokens.hidden.device)


class PlannedDecoder:
    """Takes the place of the forward of vLLM's decoder."""

    def __init__(self, decoder: Any, plan: Plan, groups: Sequence[LayerGroup], step: Callable[[], Step | None]) -> None:
        """Prepare a loaded decoder.

        Args:
            decoder: one of the classes in `DECODERS`.
            plan: passed by `check_plan`.
            groups: the attention of each layer.
            step: says what is in the present step; None while vLLM tries its memory.

        Raises:
            PlanError: the plan names a layer that the decoder does not have.
        """
        plan.check_depth(len(decoder.layers))
        self.kept: dict[str, dict[int, torch.Tensor]] | None = None
        """If it is a dict: for each request and layer of a Keep, (k,) indices of the visual tokens that were kept."""
        self._decoder = decoder
        self._forward: Callable[..., torch.Tensor] = decoder.forward
        self._keeps = plan.keeps
        self._frozen_layers = plan.frozen_layers
        read = {layer for keep in plan.keeps for layer in (keep.layer - 1, keep.layer) if layer >= 0}
        self._parts = parts_of_decoder(decoder, sorted(read) if any(not keep.is_empty for keep in plan.keeps) else ())
        self._groups = groups
        self._step = step
        self._waiting: dict[str, list[tuple[Chunk, Tokens]]] = {}

    def __call__(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        deepstack_input_embeds: Any = None,
    ) -> torch.Tensor:
        """See the decoder's own forward; (T, D), with zeros at tokens that did not go through all layers."""
        step = self._step()
        if step is None or not any(len(request.visual) for request in step.requests):
            extra = {} if deepstack_input_embeds is None else {"deepstack_input_embeds": deepstack_input_embeds}
            return self._forward(input_ids, positions, intermediate_tensors, inputs_embeds, **extra)
        requests = step.requests
        self._forget(step)
        hidden = self._decoder.embed_input_ids(input_ids) if inputs_embeds is None else inputs_embeds
        if sum(request.scheduled for request in requests) != len(hidden):
            raise UnsupportedError(
                "vLLM does not run a plan in padded steps",
                got=f"{len(hidden)} tokens for {sum(request.scheduled for request in requests)}",
                remedy="start it without sequence parallelism",
            )
        batch = self._run(self._start(requests, hidden, positions, deepstack_input_embeds))
        output = torch.zeros_like(hidden)
        of_step = batch.tokens.origin >= 0
        output[batch.tokens.origin[of_step]] = self._decoder.norm(batch.tokens.hidden[of_step])
        return output

    def _start(
        self, requests: Sequence[Request], hidden: torch.Tensor, positions: torch.Tensor, deepstack: Any
    ) -> Batch:
        levels = [] if deepstack is None else [deepstack[f"deepstack_input_embeds_{i}"] for i in range(len(deepstack))]
        features = torch.stack(levels) if levels else hidden.new_empty(0, len(hidden), hidden.shape[1])
        origin = torch.arange(len(hidden), device=hidden.device)
        tokens = Tokens(hidden, hidden, positions, features, origin)
        return Batch([Chunk.start(request) for request in requests], tokens)

    def _run(self, batch: Batch) -> Batch:
        """All layers."""
        keeps = {keep.layer: keep for keep in self._keeps}
        for index, layer in enumerate(self._decoder.layers):
            if index in keeps:
                batch = self._prune(batch, keeps[index])
            if not batch.chunks:
                return batch
            before, run = batch.tokens, _run_frozen if index in self._frozen_layers else _run_layer
            hidden = run(layer, self._groups[index], batch)
            if index < len(before.features):
                hidden = hidden + before.features[index]
            # In place, so that what was made of the batch's requests serves all layers up to the next Keep.
            batch.tokens = before._replace(hidden=hidden, previous=before.hidden)
        return batch

    def _prune(self, batch: Batch, keep: Keep) -> Batch:
        """What the Keep leaves of the tokens that are about to enter its layer."""
        passing = [self._passing(keep, chunk) for chunk in batch.chunks]
        if all(chunk is not None for chunk in passing):  # as in all steps without prompts
            return Batch([chunk for chunk in passing if chunk is not None], batch.tokens)
        left = [
            (then, tokens) if then is not None else self._decided(keep, chunk, tokens)
            for then, (chunk, tokens) in zip(passing, batch.by_request(), strict=True)
        ]
        going = [pair for pair in left if pair is not None]
        tokens = Tokens.joined([part for _, part in going]) if going else batch.tokens.at(slice(0, 0))
        return Batch([chunk for chunk, _ in going], tokens)

    def _passing(self, keep: Keep, chunk: Chunk) -> Chunk | None:
        """A request of which the Keep drops no token in this step; None if it does, or will."""
        request = chunk.request
        keeps = [each for each in self._keeps if each.layer <= keep.layer]
        left = visual_left(keeps, len(request.visual))
        if request.is_answering:
            return Chunk(request, request.computed - (left[0] - left[-1]), chunk.index)
        return chunk if left[-2] == left[-1] else None

    def _decided(self, keep: Keep, chunk: Chunk, tokens: Tokens) -> tuple[Chunk, Tokens] | None:
        """A request after the Keep has dropped some of its tokens; None if they wait for the rest of the prompt."""
        request = chunk.request
        if not request.ends_prompt:
            self._waiting.setdefault(request.name, []).append((chunk, tokens.waiting()))
            return None
        parts = [*self._waiting.pop(request.name, ()), (chunk, tokens)]
        if parts[0][0].past:
            raise RunError(f"tokens of request {request.name} are missing, and its visual tokens cannot be ranked")
        whole = Chunk(request, 0, torch.cat([part.index for part, _ in parts]))
        tokens = Tokens.joined([part for _, part in parts])
        stays = self._choose(keep, whole, tokens)
        chunk = Chunk(request, 0, whole.index[stays])
        if self.kept is not None:
            self.kept.setdefault(request.name, {})[keep.layer] = chunk.index[chunk.visual]
        return chunk, tokens.at(stays.to(tokens.hidden.device))

    def _choose(self, keep: Keep, chunk: Chunk, tokens: Tokens) -> torch.Tensor:
        """(k,) indices of a prompt's tokens that stay, and of the answer's tokens that follow it, on the CPU."""
        length = int((chunk.index < chunk.request.prompt).sum())
        prompt, device = tokens.at(slice(0, length)), tokens.hidden.device
        visual = chunk.visual[None, :length]
        slots = TokenSlots(
            positions=chunk.index[None, :length].to(device),
            visual=visual.to(device),
            real=torch.ones_like(visual, device=device),
            visual_counts=(int(visual.sum()),),
            real_counts=(length,),
            unpruned=length == chunk.request.prompt,
        )
        layer = self._decoder.layers[max(keep.layer - 1, 0)]
        rotary = tuple(table[None] for table in rotary_tables(layer, prompt.positions, prompt.hidden))
        tables = LayerTables(rotary, None, slots, past=0, new=chunk.request.prompt, dtype=prompt.hidden.dtype)
        around = Surroundings(
            parts=self._parts,
            layer=keep.layer,
            own=lambda: LayerInput(prompt.hidden[None], tables),
            previous=LayerInput(prompt.previous[None], tables) if keep.layer else None,
            previous_layer=keep.layer - 1,
            back=None,
            whole=None,
            transitions=_absent,
            token_ids=_absent,
            vision=_absent,
            grids=_absent,
            unpruned=slots.unpruned,
        )
        choice = choose(around, keep, (len(chunk.request.visual),))
        assert choice is not None, "fewer tokens stay than there are"
        check_finite(choice.finite, tokens.hidden.dtype)
        stays = torch.ones(len(chunk.index), dtype=torch.bool)
        stays[:length] = ~choice.others[0].cpu()
        return stays.nonzero()[:, 0]

    def _forget(self, step: Step) -> None:
        """Drop what waits for prompts that are gone, or that begin anew after a preemption."""
        begun = {request.name for request in step.requests if request.computed == 0}
        for name in [name for name in self._waiting if name in begun or name not in step.alive]:
            del self._waiting[name]


def _run_layer(layer: Any, group: LayerGroup, batch: Batch) -> torch.Tensor:
    return _output(layer, batch.queries.context(group), batch.tokens)


def _run_frozen(layer: Any, group: LayerGroup, batch: Batch) -> torch.Tensor:
    """One layer that does not update visual tokens: they are keys and values of the others."""
    if not len(batch.frozen):
        return _run_layer(layer, group, batch)
    tokens = batch.tokens
    frozen = tokens.at(batch.frozen)
    fill_cache(layer, frozen.hidden, frozen.positions, batch.frozen_queries.slots(group))
    if not len(batch.text):
        return tokens.hidden
    text = _output(layer, batch.text_queries.context(group), tokens.at(batch.text))
    return tokens.hidden.index_copy(0, batch.text, text)


def _output(layer: Any, context: Any, tokens: Tokens) -> torch.Tensor:
    """(n, D) of a layer, whose two results vLLM would add up in the next layer's norm."""
    from vllm.forward_context import override_forward_context

    with override_forward_context(context):
        update, residual = layer(tokens.positions, tokens.hidden.clone(), None)  # it writes into its input
    total: torch.Tensor = update + residual
    return total


def _absent(*_: Any) -> Any:
    raise UnsupportedError("vLLM does not show this to a selector", remedy="use a selector that looks at the decoder")
