"""The tables of docs/backbones.md, from what `data_samples.studies.backbones` recorded."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from data_samples.studies.backbones_records import Backbone, Estimate
from data_samples.studies.backbones_training import COMMAND as TRAINING_COMMAND
from data_samples.studies.backbones_training import training_table
from data_samples.studies.tables import markdown, write_table
from halfv_core.records import BoundaryUncertainty, CausalTreatment

PAGE = Path(__file__).parents[2] / "docs" / "backbones.md"
COMMAND, DEPTHS_COMMAND = "make backbones", "make backbones: by depth"
DEPTHS = (0.1, 0.25, 0.5, 0.75, 0.9)
COSTS = (2.0, 3.0)
TREATED: dict[CausalTreatment, str] = {"freeze": "frozen", "few": "5 % kept", "drop": "dropped"}


def write_tables(records: Mapping[str, Backbone]) -> None:
    write_table(COMMAND, models_table(records), PAGE)
    write_table(DEPTHS_COMMAND, depths_table(records), PAGE)
    write_table(TRAINING_COMMAND, training_table(), PAGE)


def models_table(records: Mapping[str, Backbone]) -> str:
    """Markdown: a column for each model."""
    rows: dict[str, Callable[[Backbone], str]] = {
        "decoder": lambda one: f"{one.decoder}, {one.layers} layers",
        "held-out accuracy": lambda one: f"{one.accuracy:.3f}",
        "with blank pictures": lambda one: f"{one.accuracy_blank:.3f}",
        "Stage II begins at": lambda one: _stage(one, "aggregation_start"),
        "Stage III begins at": lambda one: _stage(one, "saturation_start"),
        "saturation type": lambda one: f"`{one.profile.saturation.type}`",
    }
    for name, words in TREATED.items():
        rows[f"{words}: proven harmless from"] = partial(_onset, name)
    for name, words in TREATED.items():
        rows[f"{words} from Stage III on: use kept"] = partial(_at_start, name)
    for name, words in TREATED.items():
        rows[f"{words} from Stage III on: accuracy"] = partial(_accuracy, name)
    rows["plan for 97 %"] = lambda one: f"{one.profile.expected.flops_ratio:.2f}x"
    for cost in COSTS:
        rows[f"most kept at {cost:g}x"] = partial(_best, cost)
    head = ["", *(f"`{name}`" for name in records)]
    return markdown(head, [[title, *map(cell, records.values())] for title, cell in rows.items()])


def depths_table(records: Mapping[str, Backbone]) -> str:
    """Markdown: curves at some depths, with 90 % intervals."""
    head = ["model", "depth", "layer", "visual entropy", "text entropy", "KL", *TREATED.values()]
    lines = []
    for name, one in records.items():
        for depth in DEPTHS:
            layer = max(1, round(depth * (one.layers - 1)))
            place = one.treated.starts.index(layer)
            curves = [one.visual_entropy[layer], one.text_entropy[layer]]
            kept = [one.treated.use_kept[treatment][place] for treatment in TREATED]
            cells = [*(_span(value, ".2f") for value in curves), _span(one.kl[layer], ".1e")]
            lines.append([f"`{name}`", f"{depth:.0%}", f"{layer}", *cells, *(_span(value, ".0%") for value in kept)])
    return markdown(head, lines)


def _stage(one: Backbone, name: str) -> str:
    found = _layer(getattr(one.profile.stages, name))
    bounds: BoundaryUncertainty | None = one.profile.uncertainty and getattr(one.profile.uncertainty, name)
    return found if bounds is None else f"{found} ({_layer(bounds.low)} to {_layer(bounds.high)})"


def _layer(layer: int | None) -> str:
    return "never" if layer is None else f"{layer}"


def _onset(name: CausalTreatment, one: Backbone) -> str:
    curves = () if one.profile.causes is None else one.profile.causes.curves
    return _layer(next((curve.onset for curve in curves if curve.treatment == name), None))


def _accuracy(name: CausalTreatment, one: Backbone) -> str:
    return f"{one.treated.accuracy[name]:.3f}"


def _at_start(name: CausalTreatment, one: Backbone) -> str:
    return _span(one.treated.use_kept[name][one.treated.starts.index(one.treated.tried_from)], ".0%")


def _best(cost: float, one: Backbone) -> str:
    test = one.profile.best_at(cost)
    return "-" if test is None or test.retention is None else f"{test.retention:.1%}"


def _span(value: Estimate, form: str) -> str:
    return f"{value.mean:{form}} ({value.low:{form}} to {value.high:{form}})"
