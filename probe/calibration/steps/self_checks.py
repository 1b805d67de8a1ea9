"""Step `self-checks`: identities that hold for every model, tested on this one.

If a check fails, the results cannot be trusted: the family is described incorrectly, the dtype is too narrow, or the
device is not deterministic.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from halfv_core.families import Family, parts_of
from halfv_core.plan import Keep, Plan
from halfv_core.records import Check
from halfv_core.runtime import apply
from probe.analyzers.layer_redundancy import layer_redundancy
from probe.analyzers.tme import truncated_matrix_entropy
from probe.calibration.budget.mean_sample import MeanSample
from probe.calibration.steps.step import Item, ProbedModel, Step
from probe.capture.hidden_states import each_state
from probe.capture.in_float32 import can_be_widened, decoder_in_float32
from probe.capture.kept_states import KeptStates
from probe.capture.replay import Replay
from probe.data.samples import Sample
from probe.trials.answers import Inputs

LOGITS_TOLERANCE = 0.02
"""Largest difference of logits, relative to their spread, that rounding explains: the head gets one row or many."""
KEPT = 0.25
"""Share of the visual tokens that is kept to compare the choice with that of float32."""
AGREEING_SHARE = 0.5
"""Share of them that must agree: fewer are not a matter of rounding."""


@dataclass(frozen=True)
class SelfChecks(Step[tuple[Check, ...]]):
    """Runs all checks on one sample. They test the current process, so they are not restored from the journal.

    Where several processes measure, a check has passed if it has in all of them.
    """

    name = "self-checks"
    recorded = False

    entropy_k: int

    def measure(self, model: ProbedModel, sample: Sample) -> Item:
        checks = self_checks(
            model.model, model.inputs(sample), self.entropy_k, family=model.family, low_memory=model.low_memory
        )
        return [check.model_dump(mode="json") for check in checks]

    def merged(self, items: Sequence[Item]) -> Item:
        return [_first_failed(checks) for checks in zip(*items, strict=True)]

    def combine(self, items: Mapping[str, Item]) -> tuple[Check, ...]:
        return tuple(Check.model_validate(check) for item in items.values() for check in item)

    def cost(self, mean: MeanSample) -> float:
        # Two captures, a KL curve and a few forward passes.
        return 2.0 * (mean.sample + mean.kl)


def _first_failed(checks: Sequence[Item]) -> Item:
    """The first process's check, or that of the first one in which it failed.

    Args:
        checks: the same check, by rank.
    """
    for rank, check in enumerate(checks):
        if not check["passed"]:
            return check | {"found": f"{check['found']} (rank {rank})"} if rank else check
    return checks[0]


@torch.no_grad()
def self_checks(
    model: PreTrainedModel,
    inputs: Inputs,
    entropy_k: int,
    *,
    family: Family | None = None,
    low_memory: bool = False,
) -> tuple[Check, ...]:
    """Run all checks on one prompt, in about four forward passes and a KL curve.

    A model in half precision takes two more passes, and two in float32, for a check of its own. There is no such check
    if its weights are quantised, sharded or offloaded.

    Raises:
        UnsupportedError: numbers by which visual tokens are ranked are NaN or infinite.
    """
    parts = parts_of(model, family)
    logits = model(**inputs, logits_to_keep=1).logits[0, -1].float()
    last, same = _captured_twice(model, inputs, family, low_memory)
    rebuilt = parts.head(parts.norm(last)[-1]).float()
    spread = float(logits.std())
    difference = float((rebuilt - logits).abs().max())
    kl = float(layer_redundancy(model, inputs, family=family, low_memory=low_memory)[-1])
    no_op = Plan((Keep(layer=len(parts.layers) - 1, keep_ratio=1.0),))
    with apply(model, no_op, family=family):
        unchanged = torch.equal(model(**inputs, logits_to_keep=1).logits[0, -1].float(), logits)
    replay = Replay(model, inputs, family=family, low_memory=low_memory)
    with replay.from_layer(len(parts.layers) // 2):
        replayed = torch.equal(model(**inputs, use_cache=True, logits_to_keep=1).logits[0, -1], replay.logits)
    del replay  # its memory is needed
    return (
        Check(name="entropy of a known matrix", passed=_known_entropy(entropy_k), found="ln k for k equal directions"),
        Check(
            name="captured states give the model's logits",
            passed=difference <= LOGITS_TOLERANCE * spread,
            found=f"largest difference {difference:.2g}, spread of the logits {spread:.2g}",
        ),
        Check(name="the same prompt twice", passed=same, found="states, bit by bit"),
        Check(name="KL at the last layer is 0", passed=kl == 0.0, found=f"{kl:.3g} nats"),
        Check(name="a plan that does nothing", passed=unchanged, found="logits, bit by bit"),
        Check(name="a run from the middle", passed=replayed, found="logits, bit by bit"),
        *((_kept_as_in_float32(model, inputs, family),) if can_be_widened(model, family) else ()),
    )


def _captured_twice(
    model: PreTrainedModel, inputs: Inputs, family: Family | None, low_memory: bool
) -> tuple[torch.Tensor, bool]:
    """(N, D) states after the last layer, and whether those of all layers were the same when the prompt ran again."""
    states = KeptStates(low_memory=low_memory)
    each_state(model, inputs, states.append, family=family)
    first, same = iter(states), []
    each_state(model, inputs, lambda again: same.append(torch.equal(again, next(first))), family=family)
    return states[-1], all(same)


def _kept_as_in_float32(model: PreTrainedModel, inputs: Inputs, family: Family | None) -> Check:
    """How many of the tokens kept in the model's dtype are kept in float32 too, early by coverage, late by attention.

    Near-ties fall either way by rounding, and a token that is chosen otherwise changes which ones cover the rest, so
    they need not all agree.
    """
    parts = parts_of(model, family)
    layers, first = len(parts.layers), parts.first_attention + 1
    keeps = (
        Keep(layer=max(first, layers // 4), keep_ratio=KEPT),
        Keep(layer=max(first, layers * 3 // 4), keep_ratio=KEPT, selector="attention"),
    )
    agreeing, shares = [], []
    for keep in keeps:
        kept = _kept(model, inputs, keep, family)
        with decoder_in_float32(model, family=family):
            same = len(kept & _kept(model, inputs, keep, family))
        agreeing.append(f"{same} of {len(kept)} by {keep.selector} at layer {keep.layer}")
        shares.append(same / len(kept))
    return Check(name="kept tokens agree with float32", passed=min(shares) >= AGREEING_SHARE, found=", ".join(agreeing))


def _kept(model: PreTrainedModel, inputs: Inputs, keep: Keep, family: Family | None) -> set[int]:
    with apply(model, Plan((keep,)), family=family) as run:
        model(**inputs, use_cache=False, logits_to_keep=1)
    return set(run.kept[keep.layer][0].tolist())


def _known_entropy(k: int) -> bool:
    """Whether the entropy of rows +e and -e in k orthogonal directions, far from the origin, is ln k."""
    directions = torch.eye(k)
    tokens = torch.cat([directions, -directions]) + 100.0
    return math.isclose(float(truncated_matrix_entropy(tokens, k)), math.log(k), abs_tol=1e-3)
