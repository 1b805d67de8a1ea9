"""How much a mean entropy curve depends on sinks; without a model and without torch, for cautions and charts."""

from typing import Literal, NamedTuple

from halfv_core.records import Curve, Curves, Sinks

SINK_GROUPS: tuple[Literal["visual", "text"], ...] = ("visual", "text")
NOTICEABLE = 0.2
"""Difference, nats, from which on an entropy with sinks is said to differ from the one without."""


class SinkEffect(NamedTuple):
    """The layer at which the sinks of a group change its entropy most."""

    layer: int
    difference: float
    """Entropy without sinks minus entropy with them, nats."""
    sinks: Sinks


def sink_effect(curves: Curves, group: Literal["visual", "text"]) -> SinkEffect | None:
    """The largest effect of a group's sinks; None if it is not noticeable, or if sinks were not measured."""
    curve: Curve = getattr(curves, group)
    sinks: Sinks | None = getattr(curves, f"{group}_sinks")
    if sinks is None:
        return None
    differences = [without - whole for without, whole in zip(sinks.entropy_without, curve.mean, strict=True)]
    layer = max(range(len(differences)), key=lambda index: abs(differences[index]))
    return SinkEffect(layer, differences[layer], sinks) if abs(differences[layer]) > NOTICEABLE else None
