"""Step `examples`: a few samples under the chosen plan, with their images, for the report."""

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from halfv_core.conversation import Conversation
from halfv_core.families import parts_of
from halfv_core.interleaving import in_words
from halfv_core.placement import device_of
from halfv_core.plan import Plan
from halfv_core.processors import Inputs
from halfv_core.records import Stages
from halfv_core.runtime import Run, apply
from halfv_core.runtime.layout import TokenLayout
from probe.calibration.budget.mean_sample import MeanSample
from probe.calibration.observations import Attention, Example, Picture, Selection
from probe.calibration.steps.answer import Answer
from probe.calibration.steps.step import Item, ProbedModel, Step
from probe.capture.attention import attention_of_last
from probe.capture.regions import regions_of
from probe.common.region import Region
from probe.data.inputs import inputs_of
from probe.data.samples import Sample
from probe.trials.answers import greedy_answer

MAX_SIDE = 448
"""Maximum length of a picture's longer side, pixels."""

WEBP_QUALITY = 80
"""WebP quality, 0-100."""

SHARE_DIGITS = 4
"""Significant digits of an attention share."""

EDGE_DIGITS = 4
"""Decimals of the edges of a region."""


def choose_examples(samples: Sequence[Sample], changed: Collection[str], count: int) -> list[Sample]:
    """Choose up to `count` samples from as many question families as possible, starting with one that the plan changes.

    Args:
        changed: ids of samples whose answer differs under the plan.
    """
    changed_sample = next((sample for sample in samples if sample.id in changed), None)
    by_family: dict[str | None, list[Sample]] = {}
    for sample in sorted(samples, key=lambda sample: sample is not changed_sample):
        by_family.setdefault(sample.family, []).append(sample)
    rounds = max(map(len, by_family.values()), default=0)
    ordered = [
        family_samples[round_number]
        for round_number in range(rounds)
        for family_samples in by_family.values()
        if round_number < len(family_samples)
    ]
    return ordered[:count]


def attended_layers(stages: Stages) -> tuple[int, ...]:
    """Layers whose attention is shown: the one before Stage II, and the first of Stage III, if there is one."""
    return tuple(sorted({max(stages.aggregation_start - 1, 0), *filter(None, [stages.saturation_start])}))


@dataclass(frozen=True)
class Examples(Step[tuple[Example, ...]]):
    """Shows samples under the plan; leaves out samples whose visual tokens cannot be located in the images."""

    name = "examples"
    budgeted = "before the step"
    work_field = "examples"
    cost_fields = ("example",)

    answers: Mapping[str, Answer]
    """The full model's answers, by sample id."""
    plan: Plan
    layers: tuple[int, ...]
    """Layers whose attention is read."""
    max_new_tokens: int

    def measure(self, model: ProbedModel, sample: Sample) -> Item:
        shown = sample.open()
        inputs = inputs_of(model.processor, sample, device_of(model.model), shown)
        pictures, regions = pictures_of(model, inputs, shown)
        if regions is None:
            return None
        attentions = attention_of_last(model.model, inputs, self.layers, family=model.family)
        with apply(model.model, self.plan, family=model.family) as run:
            accelerated = greedy_answer(model.model, inputs, self.max_new_tokens)
        visual_ids = parts_of(model.model, model.family).visual_ids
        visual = TokenLayout.find(inputs["input_ids"], visual_ids).visual[0].nonzero().squeeze(1)
        example = Example(
            id=sample.id,
            question=in_words(sample.text),
            references=sample.answers,
            full=model.processor.decode(torch.tensor(self.answers[sample.id].ids)),
            accelerated=model.processor.decode(accelerated),
            pictures=pictures,
            regions=regions,
            selections=_selections(self.plan, run, visual),
            attentions=tuple(
                Attention(layer=layer, shares=tuple(float(f"{share:.{SHARE_DIGITS}g}") for share in shares.tolist()))
                for layer, shares in sorted(attentions.items())
            ),
        )
        return example.model_dump(mode="json")

    def combine(self, items: Mapping[str, Item]) -> tuple[Example, ...]:
        return tuple(Example.model_validate(item) for item in items.values() if item is not None)

    def cost(self, mean: MeanSample) -> float:
        return mean.inputs + mean.prefill + mean.answer


def _selections(plan: Plan, run: Run, visual: torch.Tensor) -> tuple[Selection, ...]:
    """The selection at each pruned layer; positions (V,) in the prompt become indices into its visual tokens."""
    indices = {position: index for index, position in enumerate(visual.tolist())}

    def visual_indices(positions: torch.Tensor) -> tuple[int, ...]:
        return tuple(sorted(indices[position] for position in positions.tolist()))

    return tuple(
        Selection(
            layer=keep.layer,
            selector=keep.selector,
            kept=visual_indices(run.kept[keep.layer][0]),
            anchors=visual_indices(run.anchors[keep.layer][0]),
        )
        for keep in plan.keeps
    )


def pictures_of(
    model: ProbedModel, inputs: Inputs, shown: Conversation
) -> tuple[tuple[Picture, ...], tuple[Region | None, ...] | None]:
    """The pictures of a prompt for the report, and the place on them of each visual token.

    Of a video, only frames with tokens are among them: where a token covers two frames, the first one.

    Args:
        inputs: model inputs of the prompt.
        shown: what they were made of.

    Returns:
        Pictures and regions; no regions if the visual tokens cannot be located.
    """
    taken = model.processor.as_taken(shown)
    images = taken.pictures
    regions = regions_of(
        model.model,
        model.processor,
        inputs,
        [image.size for image in images],
        frames=[len(clip.frames) for clip in taken.videos],
        family=model.family,
    )
    if regions is None:
        return (), None
    used = {region.image for region in regions if region is not None} | set(range(len(taken.images)))
    place = {image: index for index, image in enumerate(sorted(used))}
    moved = [region and region._replace(image=place[region.image]) for region in regions]
    labels = [""] * len(taken.images) + [frame for clip in taken.videos for frame in clip.labels]
    return tuple(picture_of(images[image], labels[image]) for image in place), tuple(map(rounded, moved))


def picture_of(image: Image.Image, label: str = "") -> Picture:
    """A small copy of an image, or of the frame of a video that the label names."""
    resized = image.copy()
    resized.thumbnail((MAX_SIDE, MAX_SIDE))
    file = io.BytesIO()
    resized.save(file, "WEBP", quality=WEBP_QUALITY)
    return Picture(width=image.width, height=image.height, webp=base64.b64encode(file.getvalue()).decode(), label=label)


def rounded(region: Region | None) -> Region | None:
    """The region with as many decimals as a picture needs."""
    if region is None:
        return None
    return Region(region.image, *(round(edge, EDGE_DIGITS) for edge in region[1:]))
