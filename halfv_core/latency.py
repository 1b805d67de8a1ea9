"""How long the decoder takes for a prompt under a plan, predicted from what was measured on one machine.

    table = LatencyTable.load("latency.json")
    table.check(model.config, setting_of(model))         # of halfv_core.devices
    latency_ratio(table, plan, visual=1200, text=60)     # 1.9: 1.9 times as fast as without the plan

A prediction is a sum of amounts times milliseconds, none of them negative:

    once              a prompt; its tokens; a prompt under a plan
    in every layer    queries; queries above each of some bends; queries x keys, where all tokens are updated
    frozen layers     layers; keys; queries x keys
    choices           for each measured selector: choices; tokens to choose from; their square

The bends let the time be flat while a layer is bound by launching kernels or by reading weights, and rise from where
arithmetic takes over. More queries or more keys never make a prediction smaller. Predicted is what `bench` calls the
prefill: the decoder's forward over one prompt, without vision tower and LM head.

Pure arithmetic; `probe.bench.latency_table` measures a table.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Field, ValidationError, model_validator

from halfv_core.cost import LayerTokens, tokens_by_layer
from halfv_core.errors import DataError, HalfVError, ProfileError, first_fault
from halfv_core.files import read_text, write_atomically
from halfv_core.interventions import Freeze, Hide, Keep, runs_of
from halfv_core.plan import MAX_LAYER, Plan
from halfv_core.profile import config_fingerprint
from halfv_core.records import Record

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

Count = Annotated[int, Field(ge=0)]
Milliseconds = Annotated[float, Field(ge=0)]


class Choice(NamedTuple):
    """One choice of visual tokens."""

    selector: str
    tokens: int
    """Visual tokens to choose from."""


class Setting(Record):
    """What latency depends on, besides model and prompt."""

    device: str
    """Name of the accelerator or, for a model on the CPU, of the processor."""
    dtype: str
    kernel: str
    """Attention kernel."""
    threads: int | None
    """Threads of the CPU; null for a model on an accelerator."""


class MeasuredPrefill(Record):
    """One prompt under one plan."""

    plan: Plan
    visual_tokens: Count
    text_tokens: Count
    milliseconds: Annotated[tuple[Milliseconds, ...], Field(min_length=1)]
    """The decoder's forward over the prompt, in each round."""

    @property
    def median_ms(self) -> float:
        """Median of the rounds."""
        return median(self.milliseconds)


class LatencyTable(Record):
    """Measured prefills of one model on one machine, and the milliseconds that explain them.

    `LatencyTable.load(path) == table` after `table.save(path)`.
    """

    schema_version: Literal[1] = 1
    model: str
    """Name of the model, as the user gave it."""
    model_type: str
    config_fingerprint: str
    layers: Annotated[int, Field(ge=1, le=MAX_LAYER + 1)]
    """Number of decoder layers."""
    setting: Setting
    clock: str
    """Name of the clock: `wall`, elapsed time, or `cpu`, CPU time of the process over all its threads."""
    prefills: Annotated[tuple[MeasuredPrefill, ...], Field(min_length=1)]
    bends: tuple[Count, ...]
    """Numbers of queries at which the time per query may rise, ascending."""
    selectors: tuple[str, ...]
    """Selectors whose choices were measured."""
    coefficients: dict[str, Milliseconds]
    """Milliseconds for one of each amount; see `amounts`."""
    error: float
    """Median over the measured prefills of |predicted - measured| / measured, each predicted from all others."""
    worst_error: float
    """The largest of them."""
    versions: dict[str, str]
    """Package -> version."""
    created: str
    """ISO 8601, UTC."""
    seconds: float
    """Wall-clock time of the measurement, without loading the model."""

    @model_validator(mode="after")
    def _fits_together(self) -> "LatencyTable":
        wanted = amounts([], [], self.bends, self.selectors).keys()
        if self.coefficients.keys() != wanted:
            odd = sorted(self.coefficients.keys() ^ wanted)
            raise ValueError(f"coefficients are not those of bends and selectors: {odd[0]}")
        for prefill in self.prefills:
            if prefill.plan.last_layer >= self.layers:
                raise ValueError(f"a plan names layer {prefill.plan.last_layer} of {self.layers} layers")
        return self

    @property
    def most_tokens(self) -> int:
        """Tokens of the longest measured prompt."""
        return max(prefill.visual_tokens + prefill.text_tokens for prefill in self.prefills)

    def save(self, path: str | Path) -> None:
        """Write as JSON, atomically."""
        write_atomically(Path(path), self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "LatencyTable":
        """Read and validate a saved table.

        Raises:
            DataError: the file is missing, or is not a latency table.
        """
        try:
            return cls.model_validate(json.loads(read_text(Path(path))))
        except (OSError, ValueError, RecursionError, HalfVError) as error:
            reason = first_fault(error) if isinstance(error, ValidationError) else error
            remedy = "make it again with `halfv-probe bench --latency-table FILE`"
            raise DataError(f"cannot read latency table {path} ({reason})", remedy=remedy) from None

    def check(self, config: "PreTrainedConfig", setting: Setting) -> None:
        """Refuse another model, and another machine or way of running it.

        Args:
            config: of the model.
            setting: of the model, see `halfv_core.devices.setting_of`.

        Raises:
            ProfileError: the table was measured for another model, or elsewhere.
        """
        remedy = "measure one here with `halfv-probe bench --latency-table FILE`"
        found = config_fingerprint(config)
        if found != self.config_fingerprint:
            raise ProfileError(
                "this latency table was measured for another model",
                got=f"{config.model_type} with config {found[:12]}",
                expected=f"{self.model} ({self.model_type}, config {self.config_fingerprint[:12]})",
                remedy=remedy,
            )
        if setting != self.setting:
            raise ProfileError(
                "this latency table was measured on another machine or in another way",
                got=_in_words(setting),
                expected=_in_words(self.setting),
                remedy=remedy,
            )


def amounts(
    rows: Sequence[LayerTokens], choices: Sequence[Choice], bends: Sequence[int], selectors: Sequence[str]
) -> dict[str, float]:
    """How much there is of what a prediction adds up.

    Args:
        rows: for each layer, the tokens of the prompt that go through it.
        choices: of visual tokens, by one of `selectors`; those by other selectors do not count.
        bends: see `LatencyTable.bends`.
        selectors: see `LatencyTable.selectors`.
    """
    dense = [row for row in rows if not row.frozen]
    frozen = [row for row in rows if row.frozen]
    queries = [_queries(row) for row in rows]
    found: dict[str, float] = {
        "prompt": 1.0,
        "prompt tokens": max((row.visual + row.absent + row.text for row in rows), default=0),
        "under a plan": float(any(row.frozen or row.absent for row in rows)),
        "queries": sum(queries),
        **{f"queries above {bend}": sum(max(0, count - bend) for count in queries) for bend in bends},
        "queries x keys": sum(_queries(row) * _keys(row) for row in dense),
        "frozen layers": len(frozen),
        "frozen keys": sum(map(_keys, frozen)),
        "frozen queries x keys": sum(_queries(row) * _keys(row) for row in frozen),
    }
    for selector in selectors:
        tokens = [choice.tokens for choice in choices if choice.selector == selector]
        found[f"choices by {selector}"] = len(tokens)
        found[f"candidates of {selector}"] = sum(tokens)
        found[f"candidates of {selector}, squared"] = sum(count**2 for count in tokens)
    return found


def choices_of(plan: Plan, layers: int, visual: int) -> tuple[Choice, ...]:
    """The choices that a plan makes among `visual` visual tokens, in a decoder of `layers` layers; Whens make none."""
    in_layers: tuple[Freeze | Hide, ...] = (*plan.freezes, *plan.hides)
    items: list[tuple[int, Keep | Freeze | Hide]] = [(keep.layer, keep) for keep in plan.keeps]
    items += [(run[0], item) for item in in_layers for run in runs_of(item.layers)]
    left, choices = visual, []
    for layer, item in sorted(items, key=lambda pair: (pair[0], not isinstance(pair[1], Keep))):
        if layer < layers and 0 < item.count(visual) < left:
            choices.append(Choice(item.selector, left))
        if isinstance(item, Keep):
            left = item.remaining(visual, left)
    return tuple(choices)


def predicted_ms(table: LatencyTable, rows: Sequence[LayerTokens], choices: Sequence[Choice] = ()) -> float:
    """The predicted prefill of one prompt, milliseconds.

    A choice by a selector that was not measured takes as long as the slowest measured one.

    Args:
        rows: for each layer, the tokens of the prompt that go through it.
        choices: the choices of visual tokens; see `choices_of`.
    """
    found = amounts(rows, [_measured(table, choice) for choice in choices], table.bends, table.selectors)
    return sum(table.coefficients[name] * amount for name, amount in found.items())


def plan_ms(table: LatencyTable, plan: Plan, visual: int, text: int) -> float:
    """The predicted prefill of a prompt of `visual` visual and `text` text tokens under a plan, milliseconds.

    What is decided in the run is not known: see `halfv_core.cost.tokens_by_layer`.

    Raises:
        PlanError: the plan names a layer that the table's model does not have.
    """
    plan.check_depth(table.layers)
    rows = tokens_by_layer(plan, table.layers, visual, text)
    return predicted_ms(table, rows, choices_of(plan, table.layers, visual))


def latency_ratio(table: LatencyTable, plan: Plan, visual: int, text: int) -> float:
    """The predicted prefill without the plan divided by that with it; 2 means twice as fast.

    Raises:
        PlanError: see `plan_ms`.
    """
    accelerated = plan_ms(table, plan, visual, text)
    return plan_ms(table, Plan(()), visual, text) / accelerated if accelerated else 1.0


def unmeasured(table: LatencyTable, plan: Plan, visual: int, text: int) -> tuple[str, ...]:
    """Why a prediction is beyond what was measured, one sentence for each reason; empty if it is not."""
    found = []
    if visual + text > table.most_tokens:
        found.append(f"{visual + text} tokens a prompt; at most {table.most_tokens} were measured")
    others = {choice.selector for choice in choices_of(plan, table.layers, visual)} - set(table.selectors)
    if others:
        slowest = f"counted as the slowest of {', '.join(table.selectors)}" if table.selectors else "not counted"
        found.append(f"choices by {', '.join(sorted(others))} were not measured, and are {slowest}")
    if any(keep.merge is not None for keep in plan.keeps):
        found.append("merging tokens was not measured, and is not counted")
    if not plan.is_known_beforehand:
        found.append("the numbers of tokens are decided in the run; the most possible are counted")
    return tuple(found)


def _measured(table: LatencyTable, choice: Choice) -> Choice:
    """The choice itself or, if its selector was not measured, the slowest choice among as many tokens."""
    if choice.selector in table.selectors:
        return choice
    others = [choice._replace(selector=name) for name in table.selectors]
    return max(others, key=lambda other: _choosing_ms(table, other), default=choice)


def _choosing_ms(table: LatencyTable, choice: Choice) -> float:
    found = amounts([], [choice], (), table.selectors)
    return sum(table.coefficients[name] * amount for name, amount in found.items() if name != "prompt")


def _queries(row: LayerTokens) -> int:
    return row.visual + row.text - row.frozen


def _keys(row: LayerTokens) -> int:
    return row.visual + row.text + row.past


def _in_words(setting: Setting) -> str:
    threads = [] if setting.threads is None else [f"{setting.threads} threads"]
    return ", ".join([setting.device, setting.dtype, setting.kernel, *threads])
