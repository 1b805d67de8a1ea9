"""Proofs that a loaded model can be probed: a prompt with a drawn image runs, and plans do what they say on this model.

for check in prove(model, processor):
    print(check.name, check.passed, check.found)
"""

from collections.abc import Iterator
from functools import wraps
from itertools import chain
from typing import Any

import torch
from PIL import Image, ImageDraw
from transformers import PreTrainedModel

from halfv_core.families import Family, Parts, parts_of
from halfv_core.placement import device_of, stored_weight
from halfv_core.plan import Freeze, Keep, Plan
from halfv_core.processors import PromptProcessor
from halfv_core.records import Check
from halfv_core.runtime import apply
from halfv_core.runtime.patching import Forward, Wrap, attention_kernel, wrapped
from probe.trials.answers import Inputs, greedy_answer
from probe.trials.masked_run import masked_logits

QUESTION = "What is in the picture?"
_NEW_TOKENS = 8
_TOLERANCE = 1e-3
"""Largest difference of logits, relative to their spread, that counts as equal whatever the rounding."""
_QUANTISED_TOLERANCE = 0.02
"""Likewise where activations are rounded to integers: two kernels then often agree, by chance, bit by bit."""
_TOLERATED_STEPS = 8
"""Likewise in steps of the dtype."""
_SAMPLED_VALUES = 256
_ROUNDING = 4.0
"""Differences up to so many times that between two attention kernels count as rounding."""
_LARGEST_ROUNDING = 0.25
"""Relative to the spread; above it, rounding hides what is to be proved."""


def drawn_image() -> Image.Image:
    """A picture in which all parts differ: shapes on a gradient, 224 x 168 px."""
    picture = Image.linear_gradient("L").resize((224, 168)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((16, 24, 104, 112), fill=(200, 30, 30))
    draw.rectangle((120, 56, 208, 144), fill=(30, 60, 200))
    draw.line((0, 167, 223, 0), fill=(20, 160, 60), width=5)
    return picture


def prove(model: PreTrainedModel, processor: PromptProcessor, *, family: Family | None = None) -> Iterator[Check]:
    """Run a drawn image through the processor and the model, in about eight forward passes.

    Nothing more is checked after logits that are not finite.

    Raises:
        DataError: the processor cannot prepare the prompt.
    """
    parts = parts_of(model, family)
    yield _filled_weights(model)
    inputs = processor.prompt([drawn_image()], QUESTION, device_of(model))
    yield _image_features(model, parts, inputs)
    with torch.no_grad():
        full = model(**inputs, logits_to_keep=1).logits[0, -1]
    finite = int(full.isfinite().sum())
    yield Check(
        name="logits are finite", passed=finite == len(full), found=f"{finite} of {len(full)}, as {_dtype(full)}"
    )
    if finite < len(full):
        return
    answer = greedy_answer(model, inputs, _NEW_TOKENS)
    yield Check(name="an answer", passed=len(answer) > 0, found=repr(processor.decode(answer)))
    depth = len(parts.layers)
    nothing = Plan((Keep(layer=depth - 1, keep_ratio=1.0),))
    with torch.no_grad(), apply(model, nothing, family=family):
        unchanged = model(**inputs, logits_to_keep=1).logits[0, -1]
    yield Check(
        name="a plan that does nothing changes nothing",
        passed=torch.equal(unchanged, full),
        found="logits, bit by bit",
    )
    with torch.no_grad(), attention_kernel(parts.layers[0].self_attn, "eager"):
        eager = model(**inputs, logits_to_keep=1).logits[0, -1]
    rounding = float((eager.float() - full.float()).abs().max())
    for name, plan in (
        ("pruning equals masking", Plan((Keep(layer=max(1, depth // 3), keep_ratio=0.25),))),
        ("freezing equals restoring", Plan((Freeze(layers=tuple(range(depth // 2, depth))),))),
    ):
        yield _equals_reference(name, model, inputs, plan, full.float(), rounding, family)


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


@torch.no_grad()
def _filled_weights(model: PreTrainedModel) -> Check:
    """Whether every weight matrix holds finite numbers, not only zeros, judged by some values of each.

    A download that was cut off leaves zeros where its file had been given its full size beforehand. Quantised weights
    are judged by their integers, which GPTQ and AWQ keep in buffers named `qweight`.
    """
    stored = {
        name: _stored(stored_weight(model, name) if weight.is_meta else weight)
        for name, weight in chain(model.named_parameters(), model.named_buffers())
        if name.endswith("weight") and weight.ndim > 1
    }
    matrices = {
        name: values.reshape(-1)[:: max(1, values.numel() // _SAMPLED_VALUES)].float()
        for name, values in stored.items()
        if not values.is_meta and values.numel()
    }
    empty = [name for name, values in matrices.items() if not (values.any() and values.isfinite().all())]
    return Check(
        name="weights are numbers, not only zeros",
        passed=not empty,
        found=f"{len(empty)} of {len(matrices)} matrices are not, first {empty[0]}"
        if empty
        else f"{len(matrices)} matrices",
    )


def _stored(weight: torch.Tensor) -> torch.Tensor:
    """The plain tensor with a weight's values: the largest part of a quantised one, this process's of a sharded one."""
    if hasattr(weight, "__tensor_flatten__"):
        parts = (getattr(weight, part) for part in weight.__tensor_flatten__()[0])
        return max((_stored(part) for part in parts if isinstance(part, torch.Tensor)), key=torch.numel)
    return weight.detach().as_subclass(torch.Tensor)


@torch.no_grad()
def _image_features(model: PreTrainedModel, parts: Parts, inputs: Inputs) -> Check:
    """Whether each visual token of the prompt, and no other, holds features of the image instead of its embedding."""
    received: list[torch.Tensor] = []

    def recording(forward: Forward) -> Forward:
        @wraps(forward)
        def run(*args: Any, **kwargs: Any) -> Any:
            received.append(kwargs["inputs_embeds"][0])
            return forward(*args, **kwargs)

        return run

    with wrapped([Wrap(parts.decoder, "forward", recording)], plan=False):
        model(**inputs, use_cache=False, logits_to_keep=1)
    embeds = received[0]  # (N, D)
    embedding: Any = model.get_input_embeddings()
    ids = inputs["input_ids"][0]
    words = embedding(ids.clamp(max=embedding.num_embeddings - 1))  # the id of an image may be outside the vocabulary
    filled = (words.to(embeds) != embeds).any(-1).cpu()  # (N,)
    visual = torch.isin(ids.cpu(), torch.tensor(parts.visual_ids))
    return Check(
        name="visual tokens hold image features",
        passed=bool(visual.any()) and torch.equal(filled, visual),
        found=f"{int(filled.sum())} of {len(ids)} tokens, {int(visual.sum())} promised by the processor",
    )


@torch.no_grad()
def _equals_reference(
    name: str,
    model: PreTrainedModel,
    inputs: Inputs,
    plan: Plan,
    full: torch.Tensor,
    rounding: float,
    family: Family | None,
) -> Check:
    """Compare a run under a plan with the masked reference.

    Args:
        full: (vocabulary,) logits without a plan.
        rounding: largest difference of logits between two kernels, without a plan.
    """
    with apply(model, plan, family=family) as run:
        logits = model(**inputs, logits_to_keep=1).logits[0, -1].float()
        kept = {layer: rows[0] for layer, rows in run.kept.items()}
    reference = masked_logits(model, inputs, plan, kept, family=family)
    spread, effect = float(full.std()), float((reference - full).abs().max())
    difference = float((logits - reference).abs().max())
    least = max(
        _QUANTISED_TOLERANCE if hasattr(model, "hf_quantizer") else _TOLERANCE,
        _TOLERATED_STEPS * torch.finfo(model.dtype).eps,
    )
    tolerance = max(least * spread, min(_ROUNDING * rounding, _LARGEST_ROUNDING * spread))
    return Check(
        name=name,
        passed=difference <= tolerance,
        found=f"largest difference of logits {difference:.2g}; the plan changes them by {effect:.2g}, rounding by "
        f"{rounding:.2g}",
    )
