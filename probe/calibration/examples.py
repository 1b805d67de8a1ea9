"""Examples: a few samples under the plan, with their pictures, for a person to look at."""

import base64
import io
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import torch
from PIL import Image
from pydantic import JsonValue
from transformers import PreTrainedModel

from halfv_core.families import Family, parts_of
from halfv_core.plan import Plan
from halfv_core.processors import PromptProcessor
from halfv_core.records import Stages
from halfv_core.runtime import Run, apply
from halfv_core.runtime.layout import TokenLayout
from probe.calibration.observations import Attention, Example, Picture, Region, Selection
from probe.capture.attention import attention_of_last
from probe.capture.regions import regions_of
from probe.common.result_cache import ResultCache
from probe.data.samples import Sample
from probe.trials.answers import greedy_answer

LONGEST = 448
"""Pixels of a picture's longer side, at most."""

QUALITY = 80
"""Of its WebP."""

SHARE_DIGITS = 4
"""Significant digits of a share of attention."""

EDGE_DIGITS = 4
"""Decimals of a region's edges."""


def choose(samples: Sequence[Sample], changed: Collection[str], count: int) -> list[Sample]:
    """Up to `count` samples, of as many question families as there are, one whose answer the plan changes among them.

    Args:
        changed: ids of samples whose answer is another under the plan.
    """
    first = next((sample for sample in samples if sample.id in changed), None)
    by_family: dict[str | None, list[Sample]] = {}
    for sample in sorted(samples, key=lambda sample: sample is not first):
        by_family.setdefault(sample.family, []).append(sample)
    turns = max(map(len, by_family.values()), default=0)
    in_turn = [own[turn] for turn in range(turns) for own in by_family.values() if turn < len(own)]
    return in_turn[:count]


def attended_layers(stages: Stages) -> tuple[int, ...]:
    """Layers whose attention is shown: the one before Stage II, and the first of Stage III, if there is one."""
    return tuple(sorted({max(stages.aggregation_start - 1, 0), *filter(None, [stages.saturation_start])}))


def make_examples(
    model: PreTrainedModel,
    processor: PromptProcessor,
    samples: Sequence[Sample],
    answers: Mapping[str, torch.Tensor],
    plan: Plan,
    *,
    layers: Sequence[int],
    max_new_tokens: int,
    family: Family | None = None,
    on_sample: Callable[[], None] | None = None,
    memo: ResultCache | None = None,
) -> tuple[Example, ...]:
    """Samples under the plan; those of which it is not known what the visual tokens look at are left out.

    Args:
        answers: by id, (T,) ids of the full model's answer.
        layers: whose attention is read.
        on_sample: called after each sample, for progress.
        memo: where each is noted.

    Raises:
        DataError: an image can no longer be opened.
    """

    def make(sample: Sample) -> dict[str, JsonValue] | None:
        made = _example(model, processor, sample, answers[sample.id], plan, layers, max_new_tokens, family)
        return None if made is None else made.model_dump(mode="json")

    remember, found = memo or ResultCache(), []
    for sample in samples:
        record = remember(f"examples/{sample.id}", partial(make, sample))
        if record is not None:
            found.append(Example.model_validate(record))
        if on_sample is not None:
            on_sample()
    return tuple(found)


def _example(
    model: PreTrainedModel,
    processor: PromptProcessor,
    sample: Sample,
    answer: torch.Tensor,
    plan: Plan,
    layers: Sequence[int],
    max_new_tokens: int,
    family: Family | None,
) -> Example | None:
    images = sample.open_images()
    inputs = processor.prompt(images, sample.prompt, model.device)
    regions = regions_of(model, processor, inputs, [image.size for image in images], family=family)
    if regions is None:
        return None
    attentions = attention_of_last(model, inputs, layers, family=family)
    with apply(model, plan, family=family) as run:
        accelerated = greedy_answer(model, inputs, max_new_tokens)
    visual = TokenLayout.find(inputs["input_ids"], parts_of(model, family).visual_ids).visual[0].nonzero().squeeze(1)
    return Example(
        id=sample.id,
        question=sample.prompt,
        references=sample.answers,
        full=processor.decode(answer),
        accelerated=processor.decode(accelerated),
        pictures=tuple(_picture(image) for image in images),
        regions=tuple(_rounded(region) for region in regions),
        selections=_selections(plan, run, visual),
        attentions=tuple(
            Attention(layer=layer, shares=tuple(float(f"{share:.{SHARE_DIGITS}g}") for share in shares.tolist()))
            for layer, shares in sorted(attentions.items())
        ),
    )


def _selections(plan: Plan, run: Run, visual: torch.Tensor) -> tuple[Selection, ...]:
    """By layer; positions (V,) in the prompt become indices into its visual tokens."""
    index = {position: number for number, position in enumerate(visual.tolist())}

    def numbers(positions: torch.Tensor) -> tuple[int, ...]:
        return tuple(sorted(index[position] for position in positions.tolist()))

    return tuple(
        Selection(
            layer=keep.layer,
            selector=keep.selector,
            kept=numbers(run.kept[keep.layer][0]),
            anchors=numbers(run.anchors[keep.layer][0]),
        )
        for keep in plan.keeps
    )


def _picture(image: Image.Image) -> Picture:
    small = image.copy()
    small.thumbnail((LONGEST, LONGEST))
    file = io.BytesIO()
    small.save(file, "WEBP", quality=QUALITY)
    return Picture(width=image.width, height=image.height, webp=base64.b64encode(file.getvalue()).decode())


def _rounded(region: Region | None) -> Region | None:
    if region is None:
        return None
    return Region(region.image, *(round(edge, EDGE_DIGITS) for edge in region[1:]))
