"""Slow and obvious: what a plan means, by masking pruned tokens and overwriting frozen ones instead of removing them.

Every layer runs on all N tokens. Pruned visual tokens stay in the sequence, but no other token may attend to them; in a
frozen layer all tokens are computed, and the hidden states of the visual ones are then restored. Vision features that
the model adds to visual tokens between layers are added after every layer that has some, frozen or not.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel

from halfv_core import Plan, Run
from halfv_core.families import Parts, parts_of
from halfv_core.interventions import runs_of
from halfv_core.runtime.patching import Wrap, by_name, wrapped
from tests.tiny import continued


class Calls(NamedTuple):
    """What the model itself passes to its decoder layers."""

    hidden: list[torch.Tensor]
    """(1, N, D) input of each layer."""
    arguments: list[dict[str, Any]]
    """Keyword arguments of each layer's call."""
    features: list[torch.Tensor]
    """(N, D) vision features that it adds after layers 0, 1, ...; empty for most families."""


def layer_calls(model: PreTrainedModel, inputs: Mapping[str, Any]) -> Calls:
    """Run the model once and record the calls."""
    parts = parts_of(model)
    hidden: list[torch.Tensor] = []
    arguments: list[dict[str, Any]] = []
    features: list[torch.Tensor] = []

    def record_call(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden.append(args[0])
        arguments.append(by_name(layer.forward, args[1:], kwargs))

    def record_features(add: Any) -> Any:
        def run(states: torch.Tensor, where: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
            features.append(torch.zeros_like(states[0]).masked_scatter(where[0][:, None], values))
            return add(states, where, values)

        return run

    handles = [layer.register_forward_pre_hook(record_call, with_kwargs=True) for layer in parts.layers]
    with wrapped([Wrap(parts.decoder, parts.deepstack, record_features)] if parts.deepstack else []):
        model(**inputs, use_cache=False)
    for handle in handles:
        handle.remove()
    return Calls(hidden, arguments, features)


def visible_keys(mask: torch.Tensor | None, real: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """(N, N) bool: which key columns each query row sees in the model's own mask, which must be causal for text; a
    sliding window may hide columns."""
    causal = torch.ones(len(real), len(real)).tril().bool() & real
    if mask is None:
        return causal
    found = mask[0, 0] if mask.dtype == torch.bool else mask[0, 0] == 0
    assert not (found & ~causal)[text & real].any()
    return found & real


class Chosen(NamedTuple):
    """Positions of visual tokens of one prompt, by layer, as a run of the plan has chosen them."""

    kept: Mapping[int, torch.Tensor]
    """By layer of each Keep, and wherever a When pruned: the tokens that stay."""
    exempt: Mapping[int, torch.Tensor] = {}
    """By first layer of each run of frozen or hidden layers: the tokens to which that does not apply."""
    merged: Mapping[int, torch.Tensor] = {}
    """By layer of each Keep that merges: (kept, D) what the kept tokens hold from there on."""

    @classmethod
    def of(cls, run: Run, row: int = 0, merged: Mapping[int, torch.Tensor] = {}) -> "Chosen":  # noqa: B006
        """What a run has chosen for a row; layers at which it has pruned nothing there are left out."""
        plan_layers = {keep.layer for keep in run.plan.keeps}
        kept = {
            layer: rows[row]
            for layer, rows in run.kept.items()
            if layer in plan_layers or any(fired[row] == layer for fired in run.fired)
        }
        return cls(kept, {layer: rows[row] for layer, rows in run.exempt.items()}, merged)


def masked_logits(
    model: PreTrainedModel,
    inputs: Mapping[str, Any],
    plan: Plan,
    kept: Mapping[int, torch.Tensor] | Chosen,
    ends: Sequence[int] = (),
) -> torch.Tensor:
    """(N, vocabulary) logits; those at pruned positions are meaningless.

    Args:
        model: any model of a registered family.
        inputs: model inputs, batch of one.
        plan: its frozen and hidden layers count, and what its Keeps do beside choosing.
        kept: by layer of each Keep, the positions of the visual tokens kept there; or all that was chosen.
        ends: positions behind each forward call with a cache but the last one; by default all tokens came in one call.
    """
    chosen = kept if isinstance(kept, Chosen) else Chosen(kept)
    parts, calls = parts_of(model), layer_calls(model, inputs)
    hidden = calls.hidden[0]
    visual = torch.isin(inputs["input_ids"][0], torch.tensor(parts.visual_ids))  # (N,)
    length, real = len(visual), inputs["attention_mask"][0].bool()
    call = torch.bucketize(torch.arange(length), torch.tensor(ends, dtype=torch.long), right=True)
    later = call[:, None] > call  # (N, N)
    keeps, still_layers = {keep.layer: keep for keep in plan.keeps}, plan.frozen_layers | plan.hidden_layers
    starts = {run[0] for item in (*plan.freezes, *plan.hides) for run in runs_of(item.layers)}
    gone = torch.zeros(length, dtype=torch.bool)  # from all layers, for later calls
    for layer, keep in keeps.items():
        if keep.cache == "everywhere" and layer in chosen.kept:
            gone |= visual & ~_mask_of(chosen.kept[layer], length)
    remaining, exempt, tables = torch.ones(length, dtype=torch.bool), torch.zeros(length, dtype=torch.bool), None
    for index, (layer, arguments) in enumerate(zip(parts.layers, calls.arguments, strict=True)):
        if index in chosen.kept:
            remaining = ~visual | _mask_of(chosen.kept[index], length)
            if index in chosen.merged:
                hidden[0, chosen.kept[index]] = chosen.merged[index]
            if index in keeps and keeps[index].positions == "renumbered":
                tables = _tables_without_gaps(parts, arguments, remaining & real)
        if index in starts:
            exempt = torch.zeros(length, dtype=torch.bool)
        if index in chosen.exempt:
            exempt = _mask_of(chosen.exempt[index], length)
        still = visual & ~exempt
        here = remaining & ~still if index in plan.hidden_layers else remaining
        if index in parts.recurrent:
            hidden = in_order(layer, hidden, arguments, here & real, still if index in still_layers else None)
            continue
        allowed = visible_keys(arguments["attention_mask"], real, ~visual) & here  # (N, N)
        allowed &= ~(later & gone)
        blocked = ~(allowed | torch.eye(length, dtype=torch.bool))
        mask = hidden.new_zeros(1, 1, length, length).masked_fill(blocked, torch.finfo(hidden.dtype).min)
        moved = {} if tables is None else {"position_embeddings": tables}
        output = layer(hidden, **(arguments | {"attention_mask": mask, "past_key_values": None} | moved))
        if index in still_layers:
            output[0, still] = hidden[0, still]
        if index < len(calls.features):
            output = output + calls.features[index]
        hidden = output
    return logits_of(model, parts, inputs, hidden)


def in_order(
    layer: Any, hidden: torch.Tensor, arguments: Mapping[str, Any], here: torch.Tensor, still: torch.Tensor | None
) -> torch.Tensor:
    """(1, N, D) output of a layer with a running state that sees the tokens `here`, (N,), but leaves `still`."""
    where = here.nonzero()[:, 0]
    own = dict(arguments) | {"attention_mask": None, "past_key_values": None, "position_embeddings": None}
    if isinstance(own.get("position_ids"), torch.Tensor):
        own["position_ids"] = own["position_ids"][..., where]
    output = hidden.clone()
    output[:, where] = layer(hidden[:, where], **own)
    if still is not None:
        output[0, still] = hidden[0, still]
    return output


def logits_of(model: PreTrainedModel, parts: Parts, inputs: Mapping[str, Any], hidden: torch.Tensor) -> torch.Tensor:
    """(N, vocabulary) logits that the model makes of (1, N, D) outputs of its last layer."""
    if parts.is_tested:
        return parts.head(parts.norm(hidden))[0]
    with wrapped([Wrap(parts.layers[-1], "forward", lambda _: lambda *args, **kwargs: hidden)], plan=False):
        return model(**inputs, use_cache=False).logits[0]  # which some classes scale or cap


def _mask_of(positions: torch.Tensor, length: int) -> torch.Tensor:
    mask = torch.zeros(length, dtype=torch.bool)
    mask[positions] = True
    return mask


def _tables_without_gaps(parts: Parts, arguments: Mapping[str, Any], remaining: torch.Tensor) -> Any:
    """Rotary tables by which the remaining tokens are counted one after another."""
    positions = arguments["position_ids"].clone()
    first = positions[0, remaining][0]
    positions[0, remaining] = first + torch.arange(int(remaining.sum()))
    return parts.decoder.rotary_emb(arguments["position_embeddings"][0], positions)


def generate_by_recomputation(
    model: PreTrainedModel, inputs: Mapping[str, Any], plan: Plan, kept: Mapping[int, torch.Tensor] | Chosen, steps: int
) -> list[int]:
    """`steps` greedy token ids, for each of which the whole sequence runs again, without a cache."""
    grown, ids, prompt = dict(inputs), [], inputs["input_ids"].shape[1]
    for _ in range(steps):
        ids.append(int(masked_logits(model, grown, plan, kept, [prompt])[-1].argmax()))
        grown = continued(grown, torch.tensor([ids[-1:]]))
    return ids
