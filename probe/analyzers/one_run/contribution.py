"""Value-aware contribution: how much each visual token turns what the last prompt token takes in by attention.

    c_j = concat over heads h of A_h[last, j] v_h[j]        at layer l; o = sum of c_j over all tokens j
    min cosine     m = min over visual tokens j of cos(o - c_j, o): near 1, no single visual token matters
    length         |c_j|_2, and |c_j|_2 / |o|_2
    filter layer, exit layer, stages                         see `probe.analyzers.visipruner_stages`

VisiPruner (arXiv 2510.17205, EMNLP 2025), whose rules read the layers after the first fifth, and keep the tokens whose
length is above 0.2. That threshold depends on the scale of a model's values; beside it stands 0.1 as a share of the
output's length, at which a part at right angles to the rest of the output turns it by a cosine of 0.995, the filter's
threshold. As in the original, o and c_j are taken before the output projection, which may lengthen some directions and
drop others: they are what enters the projection, not what is written. Tokens that matter only together have cosines
near 1 each. Unit: a cosine, a number of tokens, a share, a layer. Cost: one row of attention and the values in each
layer; no pass beside the shared run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from halfv_core.families import Family
from halfv_core.runtime.prompt_view import PromptView
from halfv_core.selectors.contributions import Contributions, contributions
from halfv_core.selectors.prompt import Prompt
from probe.analyzers.findings import AnyFinding, Bars, SampleTable, TokenMap, layer_series, significant
from probe.analyzers.probe import PROBES, Item, Probe
from probe.analyzers.visipruner_stages import exit_layers, filter_layers, visipruner_stages
from probe.capture.layer_views import at_every_layer
from probe.capture.prompt_run import PromptRun

LONG = 0.2
"""Published length above which a token is kept."""
LONG_SHARE = 0.1
"""The same as a share of the output's length."""
DIGITS = 6
"""Decimals of the cosines, from which the report finds the same layers as are found here."""


@PROBES.register("contribution")
class Contribution(Probe):
    """Min cosine and counts by layer, and where VisiPruner's rules hold; of examples the share of each token."""

    title = "What visual tokens contribute"
    question = "In which layers does any single visual token matter to the last prompt token?"
    looks = True

    def look(self, layer: int, prompt: PromptView, run: PromptRun) -> Contributions:
        """The contributions, on the CPU."""
        return Contributions(*(part.cpu() for part in own_contributions(prompt)))

    def measure(self, run: PromptRun, looked: Sequence[Contributions], *, example: bool) -> Item:
        """(L,) of each; of an example also the (L, V) shares."""
        shares = [found.norms / found.output_norm.clamp(min=torch.finfo(torch.float32).tiny) for found in looked]
        item: dict[str, Any] = {
            "min_cosine": [lowest_cosine(found) for found in looked],
            "long": [int((found.norms > LONG).sum()) for found in looked],
            "long_share": [int((share > LONG_SHARE).sum()) for share in shares],
        }
        return item | {"shares": [significant(share) for share in shares]} if example else item

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """Means over the samples, what the report recomputes, and the maps of examples."""
        lowest, long, long_share = (
            np.array([item[name] for item in items.values()], dtype=np.float64)
            for name in ("min_cosine", "long", "long_share")
        )
        kept = "Number of visual tokens with a long contribution"
        cosine = "Lowest cosine of the attention output with and without a visual token"
        filtered = filter_layers(lowest)
        never = f"{lowest.shape[1]}: none"
        return [
            layer_series("min_cosine", lowest, axis="layers", title=cosine),
            layer_series("long", long, axis="layers", title=kept, group=f"longer than {LONG}"),
            layer_series(
                "long_share", long_share, axis="layers", title=kept, group=f"longer than {LONG_SHARE} of the output"
            ),
            SampleTable(name="min_cosines", title=cosine, axis="layers", values=lowest.tolist()),
            _by_sample("filter_layer", f"Layer at which VisiPruner prunes ({never})", filtered),
            _by_sample(
                "exit_layer", f"Layer at which VisiPruner drops the rest ({never})", exit_layers(lowest, filtered)
            ),
            _stages(lowest),
            *(
                TokenMap(
                    name=f"map_{index}",
                    title="Length of the contribution, as a share of the attention output's",
                    example=sample,
                    axis="layers",
                    values=item["shares"],
                )
                for index, (sample, item) in enumerate(items.items())
                if "shares" in item
            ),
        ]


def own_contributions(prompt: Prompt) -> Contributions:
    """The contributions in the layer whose input a prompt has reached."""
    row = prompt.attention(prompt.question[-1:], at="own")[:, 0]  # (H, n)
    return contributions(row, prompt.values(at="own"), prompt.visual)


def lowest_cosine(found: Contributions) -> float:
    """m above, rounded."""
    return round(min(float(found.cosines.min()), 1.0), DIGITS)


def lowest_cosines(
    model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], family: Family | None = None
) -> list[float]:
    """m of each of the L layers, from a run of one prompt.

    Args:
        inputs: model inputs, batch of one.
    """
    return [lowest_cosine(found) for found in at_every_layer(model, inputs, own_contributions, family=family)]


def _by_sample(name: str, title: str, layers: Any) -> SampleTable:
    return SampleTable(name=name, title=title, values=tuple((float(layer),) for layer in layers))


def _stages(lowest: Any) -> Bars:
    found = visipruner_stages(lowest)
    return Bars(
        name="stages",
        title=f"First layer of VisiPruner's stages, median over the samples ({lowest.shape[1]}: it does not begin)",
        conditions=("middle", "deep"),
        mean=tuple(float(stage.layer) for stage in found),
        low=tuple(float(stage.low) for stage in found),
        high=tuple(float(stage.high) for stage in found),
        samples=len(lowest),
    )
