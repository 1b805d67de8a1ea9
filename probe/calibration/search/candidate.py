"""Candidate: a plan of the form that is searched, with its cost and its neighbours.

    Candidate(keeps=((1, 0.5), (4, 0.15)), treatment=("freeze", 5), drop=9)

Tokens are pruned once or in steps, a treatment may hold from some layer on, and all visual tokens may be dropped at a
later one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from halfv_core.cost import LayerTokens
from halfv_core.latency import Choice, LatencyTable, predicted_ms
from halfv_core.plan import AnyIntervention, Freeze, Keep, Option, Plan
from halfv_core.records import CausalTreatment

Array = NDArray[np.float64]

RATIOS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 0.75)
"""Shares of the visual tokens that a Keep of a candidate may keep."""
MAX_KEEPS = 3
"""Number of Keeps in a candidate, without the treatment."""


@dataclass(frozen=True)
class Form:
    """What all candidates of one search have in common."""

    layers: int
    """Number of decoder layers."""
    few: float
    """Share that the treatment `few` keeps."""
    selector: str
    """Selector of the Keeps, unless a candidate has its own."""
    options: Mapping[str, Option]
    first: int = 1
    """The first layer before which tokens can be ranked, see `DecoderShape.first_ranked`."""


@dataclass(frozen=True)
class Candidate:
    """One plan of the form."""

    keeps: tuple[tuple[int, float], ...] = ()
    """Layer and share of each Keep; layers ascend, shares fall."""
    treatment: tuple[CausalTreatment, int] | None = None
    """`freeze` or `few`, and the layer from which on it holds."""
    drop: int | None = None
    """Layer at which all visual tokens leave."""
    selector: str | None = None
    """Selector of the first Keep, with its default options; None for that of the form."""

    def is_valid(self, form: Form) -> bool:
        """Whether it can be made, and no part of it is without effect."""
        if self.selector is not None and not self.keeps:
            return False
        last, share = 0, 1.0
        for layer, ratio in self.keeps:
            if not (max(last, form.first - 1) < layer < form.layers and ratio < share):
                return False
            last, share = layer, ratio
        end = form.layers if self.drop is None else self.drop
        if self.treatment is not None:
            name, start = self.treatment
            # A Freeze may begin with the last Keep; few tokens are kept only where more are left.
            if not max(1, last) <= start < end:
                return False
            if name == "few" and (start == last or start < form.first or form.few >= share):
                return False
        return len(self.keeps) <= MAX_KEEPS and (self.drop is None or last < self.drop < form.layers)

    def plan(self, form: Form) -> Plan:
        """The plan."""
        end = form.layers if self.drop is None else self.drop
        parts: list[AnyIntervention] = [self._keep(form, index) for index in range(len(self.keeps))]
        if self.treatment is not None:
            name, start = self.treatment
            few = Keep(layer=start, keep_ratio=form.few, selector="attention")
            parts.append(few if name == "few" else Freeze(layers=range(start, end)))
        if self.drop is not None:
            parts.append(Keep(layer=self.drop, keep_ratio=0.0, selector="uniform"))
        return Plan(parts)

    def _keep(self, form: Form, index: int) -> Keep:
        layer, ratio = self.keeps[index]
        if index == 0 and self.selector is not None:
            return Keep(layer=layer, keep_ratio=ratio, selector=self.selector)
        return Keep(layer=layer, keep_ratio=ratio, selector=form.selector, options=dict(form.options))

    def neighbours(self, form: Form) -> Iterator["Candidate"]:
        """The valid candidates that differ in one layer, one share, or one part."""
        for changed in self._changed(form):
            if changed != self and changed.is_valid(form):
                yield changed

    def _changed(self, form: Form) -> Iterator["Candidate"]:
        for index, (layer, ratio) in enumerate(self.keeps):
            place = RATIOS.index(ratio) if ratio in RATIOS else 0
            moved = [
                (layer - 1, ratio),
                (layer + 1, ratio),
                *((layer, other) for other in RATIOS[max(0, place - 1) :][:3]),
            ]
            for keep in moved:
                yield replace(self, keeps=(*self.keeps[:index], keep, *self.keeps[index + 1 :]))
            yield replace(self, keeps=self.keeps[:index] + self.keeps[index + 1 :])
        yield from self._with_another_keep(form)
        for name in ("freeze", "few"):
            start = self.treatment[1] if self.treatment else 2 * form.layers // 3
            for other in (start - 1, start, start + 1):
                yield replace(self, treatment=(name, other))
        yield replace(self, treatment=None)
        drop = self.drop or form.layers - 1
        for layer in (drop - 1, drop, drop + 1):
            yield replace(self, drop=layer)
        yield replace(self, drop=None)

    def _with_another_keep(self, form: Form) -> Iterator["Candidate"]:
        """One more step of pruning: halfway between two, or before or after them, at half or twice the share."""
        last = form.layers if self.treatment is None else self.treatment[1]
        places = [0, *(layer for layer, _ in self.keeps), last]
        for index, (low, high) in enumerate(zip(places, places[1:], strict=False)):
            before = self.keeps[index - 1][1] if index else 1.0
            after = self.keeps[index][1] if index < len(self.keeps) else 0.0
            between = [ratio for ratio in RATIOS if after < ratio < before]
            if between and high - low > 1:
                keep = ((low + high) // 2, between[len(between) // 2])
                yield replace(self, keeps=(*self.keeps[:index], keep, *self.keeps[index:]))


@dataclass(frozen=True)
class Pricing:
    """What a layer costs, by the tokens in it: in FLOPs, in bytes of KV cache, or in time."""

    layer_cost: Callable[[LayerTokens], float]
    visual: int
    """Visual tokens of the mean prompt."""
    text: int
    keep_cost: float = 0.0
    """Cost of choosing tokens once."""


def latency_pricing(table: LatencyTable, selector: str, visual: int, text: int) -> Pricing:
    """What a layer, and a choice of tokens, take by a latency table, in milliseconds."""

    def layer_ms(tokens: LayerTokens) -> float:
        return predicted_ms(table, [tokens, tokens]) - predicted_ms(table, [tokens])

    choice = (Choice(selector, visual),)
    return Pricing(layer_ms, visual, text, predicted_ms(table, [], choice) - predicted_ms(table, []))


@dataclass(frozen=True)
class PriceTable:
    """Costs of all candidates of a form, from a layer's cost at each share."""

    form: Form
    pricing: Pricing

    @cached_property
    def _full(self) -> float:
        return self.dense(1.0)

    @cached_property
    def _known(self) -> dict[tuple[str, float], float]:
        return {}

    def dense(self, share: float) -> float:
        """Cost of a layer with this share of the visual tokens, 0..1."""
        return self._cost("dense", share)

    def frozen(self, share: float) -> float:
        """Cost of a layer in which this share of the visual tokens is left, all of them frozen."""
        return self._cost("frozen", share)

    def _cost(self, kind: str, share: float) -> float:
        if (kind, share) not in self._known:
            pricing = self.pricing
            count = pricing.visual if share == 1.0 else max(1, int(pricing.visual * share)) if share else 0
            tokens = LayerTokens(count, pricing.text, count if kind == "frozen" else 0)
            self._known[kind, share] = pricing.layer_cost(tokens)
        return self._known[kind, share]

    def ratio(self, candidate: Candidate) -> float:
        """Cost without a plan, divided by that of the candidate."""
        form, total, layer, share = self.form, 0.0, 0, 1.0
        for start, ratio in candidate.keeps:
            total += (start - layer) * self.dense(share)
            layer, share = start, ratio
        end = form.layers if candidate.drop is None else candidate.drop
        if candidate.treatment is None:
            total += (end - layer) * self.dense(share)
        else:
            name, start = candidate.treatment
            treated = self.frozen(share) if name == "freeze" else self.dense(form.few)
            total += (start - layer) * self.dense(share) + (end - start) * treated
        total += (form.layers - end) * self.dense(0.0)
        choices = len(candidate.keeps) + (candidate.treatment is not None and candidate.treatment[0] == "few")
        return form.layers * self._full / (total + choices * self.pricing.keep_cost)
