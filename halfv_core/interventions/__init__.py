"""The interventions of a plan: what happens to visual tokens at a decoder layer, or in some layers.

In each layer a visual token may be *attended* (a key and value for other tokens), *updated* (a query, which the layer's
MLP changes) and, if it is neither, *carried* (it comes back in a later layer).

    Keep     from a layer on, the tokens that are not kept are none of these
    Freeze   in some layers, tokens are attended, not updated
    Hide     in some layers, tokens are carried
    When     prune like Keep, at the first layer where a rule holds for a prompt
"""

from halfv_core.interventions.base import MAX_LAYER, Intervention, Option, Options, Selection
from halfv_core.interventions.freeze import Freeze
from halfv_core.interventions.hide import Hide
from halfv_core.interventions.keep import Keep
from halfv_core.interventions.layers import runs_of
from halfv_core.interventions.when import When

__all__ = [
    "MAX_LAYER",
    "Freeze",
    "Hide",
    "Intervention",
    "Keep",
    "Option",
    "Options",
    "Selection",
    "When",
    "runs_of",
]
