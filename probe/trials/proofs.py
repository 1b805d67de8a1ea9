"""Proofs that a loaded model can be probed: a prompt with a drawn image runs, and plans do what they say on this model.

for check in prove(model, processor):
    print(check.name, check.passed, check.found)

`admit` proves a model whose classes have no tests of their own, before it is used; see halfv_core.families.admission.
"""

from collections.abc import Iterator
from functools import wraps
from itertools import chain
from typing import Any

import torch
from PIL import Image, ImageDraw
from transformers import PreTrainedModel

from halfv_core.errors import HalfVError, UnsupportedError
from halfv_core.failures import is_out_of_memory, reason_of
from halfv_core.families import Family, Parts, admission, parts_of
from halfv_core.placement import device_of, stored_weight
from halfv_core.plan import Freeze, Keep, Plan
from halfv_core.processors import PromptProcessor
from halfv_core.records import Check
from halfv_core.runtime import apply
from halfv_core.runtime.patching import Forward, Wrap, attention_kernel, wrapped
from probe.trials.answers import Inputs, continued, greedy_answer
from probe.trials.batches import batches
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


def admit(model: PreTrainedModel, processor: PromptProcessor, *, family: Family | None = None) -> tuple[Check, ...]:
    """Prove a model whose classes have no tests of their own, unless that was done before; leave others as they are.

    Takes about fifteen forward passes of a short prompt. What is proven is remembered for this version of transformers.

    Returns:
        The proofs that were run; none if there was nothing to prove.

    Raises:
        UnsupportedError: an identity does not hold; the message names it.
        ModelError: the structure of the model is not understood.
        DataError: the processor cannot prepare the prompt.
    """
    parts = parts_of(model, family)
    if parts.is_tested or admission.is_admitted(parts.pair):
        return ()
    checks = []
    for check in prove(model, processor, family=family):
        if not check.passed:
            raise UnsupportedError(
                f"{parts.pair} is not admitted, because on this model it does not hold: {check.name}",
                got=check.found,
                remedy="use a model of one of the tested families (docs/limits.md)",
            )
        checks.append(check)
    admission.admit(parts.pair)
    return tuple(checks)


def prove(model: PreTrainedModel, processor: PromptProcessor, *, family: Family | None = None) -> Iterator[Check]:
    """Run a drawn image through the processor and the model, in about fifteen forward passes.

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
    yield from _Identities(model, parts, inputs, full, family).checks()


class _Identities:
    """What holds for every plan on every model that the runtime understands, tried with one prompt."""

    def __init__(
        self, model: PreTrainedModel, parts: Parts, inputs: Inputs, full: torch.Tensor, family: Family | None
    ) -> None:
        """Prepare the plans and the yardstick.

        Args:
            full: (vocabulary,) the last logits of the prompt without a plan.
        """
        depth = len(parts.layers)
        self._model, self._parts, self._inputs, self._family = model, parts, inputs, family
        self._full = full.float()
        self._nothing = Plan((Keep(layer=depth - 1, keep_ratio=1.0),))
        first = max(1, depth // 3, parts.first_attention + 1)
        self._keep = Plan((Keep(layer=first, keep_ratio=0.25),))
        self._freeze = Plan((Freeze(layers=tuple(range(depth // 2, depth))),))
        self._both = Plan((*self._keep.interventions, *self._freeze.interventions))
        with torch.no_grad(), attention_kernel(parts.decoder, "eager"):
            eager = model(**inputs, logits_to_keep=1).logits[0, -1]
        self._rounding = float((eager.float() - self._full).abs().max())
        """Largest difference of logits between two kernels, without a plan."""

    def checks(self) -> Iterator[Check]:
        """All identities; one that cannot even be tried does not hold."""
        for name, run in (
            ("a plan that does nothing changes nothing", self._does_nothing),
            ("pruning equals masking", lambda: self._equals_masking(self._keep)),
            ("freezing equals restoring", lambda: self._equals_masking(self._freeze)),
            ("caches hold what was kept", self._cache_lengths),
            ("decoding equals recomputing", self._decodes),
            ("rows of a padded batch are as if alone", self._rows),
        ):
            try:
                with torch.no_grad(), admission.on_trial(self._parts.pair):
                    passed, found = run()
            except HalfVError as error:
                passed, found = False, str(error)
            except Exception as error:  # noqa: BLE001 - of a class that nobody has tried, anything may come
                if is_out_of_memory(error):
                    raise
                passed, found = False, reason_of(error)
            yield Check(name=name, passed=passed, found=found)

    def _does_nothing(self) -> tuple[bool, str]:
        with apply(self._model, self._nothing, family=self._family):
            logits = self._model(**self._inputs, logits_to_keep=1).logits[0, -1].float()
        return torch.equal(logits, self._full), "logits, bit by bit"

    def _equals_masking(self, plan: Plan) -> tuple[bool, str]:
        """A run under a plan against the masked reference."""
        with apply(self._model, plan, family=self._family) as run:
            logits = self._model(**self._inputs, logits_to_keep=1).logits[0, -1].float()
            kept = {layer: rows[0] for layer, rows in run.kept.items()}
        reference = masked_logits(self._model, self._inputs, plan, kept, family=self._family)
        passed, found = self._close(logits, reference)
        effect = float((reference - self._full).abs().max())
        return passed, f"{found}; the plan changes them by {effect:.2g}, rounding by {self._rounding:.2g}"

    def _cache_lengths(self) -> tuple[bool, str]:
        with apply(self._model, self._keep, family=self._family) as run:
            cache = self._model(**self._inputs, use_cache=True, logits_to_keep=1).past_key_values
            (kept,) = run.kept.values()
        tokens, visual = self._inputs["input_ids"].shape[1], int(self._visual().sum())
        after = tokens - visual + len(kept[0])
        first = self._keep.keeps[0].layer
        expected = [tokens if layer < first else after for layer in range(len(self._parts.layers))]
        attention = [layer for layer in range(len(expected)) if layer not in self._parts.recurrent]
        found = [cache.layers[layer].keys.shape[2] for layer in attention]
        passed = found == [expected[layer] for layer in attention]
        return passed, f"{found[0]} tokens, and {found[-1]} from layer {first} on"

    def _decodes(self) -> tuple[bool, str]:
        """Two tokens after the prompt, from its pruned and frozen cache, against the masked reference."""
        ids = self._inputs["input_ids"][:, -1:].repeat(1, 2)  # any text will do
        with apply(self._model, self._both, family=self._family) as run:
            cache = self._model(**self._inputs, use_cache=True, logits_to_keep=1).past_key_values
            kept = {layer: rows[0] for layer, rows in run.kept.items()}
            for step in range(ids.shape[1]):
                logits = self._model(input_ids=ids[:, step : step + 1], past_key_values=cache, use_cache=True).logits
        longer = continued(self._inputs, ids)
        reference = masked_logits(self._model, longer, self._both, kept, family=self._family)
        return self._close(logits[0, -1].float(), reference)

    def _rows(self) -> tuple[bool, str]:
        """The prompt and a longer one, side by side, each against itself alone."""
        longer = continued(self._inputs, self._inputs["input_ids"][:, -1:].repeat(1, 3))
        prompts = [dict(self._inputs), longer]
        ((order, batch),) = batches(prompts)
        plain = self._plain(batch)
        if plain is None:  # the images of two rows are joined in a way of their own
            order, prompts, batch = [0, 1], *_beside_text(self._inputs)
        with apply(self._model, self._both, family=self._family):
            alone = [self._model(**prompts[row], logits_to_keep=1).logits[0, -1].float() for row in order]
            together = self._model(**batch, logits_to_keep=1).logits[:, -1].float()
        results = [self._close(*pair) for pair in zip(together, alone, strict=True)]
        failed = [found for passed, found in results if not passed]
        if failed and plain is not None:
            without = [self._model(**prompts[row], logits_to_keep=1).logits[0, -1].float() for row in order]
            if not all(self._close(*pair)[0] for pair in zip(plain, without, strict=True)):
                return False, f"{failed[0]}; nor does it without a plan"
        return not failed, (failed or [results[0][1]])[0]

    def _plain(self, batch: Inputs) -> torch.Tensor | None:
        """(B, vocabulary) last logits of a batch without a plan; None if the model cannot run it."""
        try:
            return self._model(**batch, logits_to_keep=1).logits[:, -1].float()  # type: ignore[no-any-return]
        except Exception as error:  # noqa: BLE001 - of a class that nobody has tried, anything may come
            if is_out_of_memory(error):
                raise
            return None

    def _visual(self) -> torch.Tensor:
        return torch.isin(self._inputs["input_ids"][0].cpu(), torch.tensor(self._parts.visual_ids))

    def _close(self, logits: torch.Tensor, reference: torch.Tensor) -> tuple[bool, str]:
        """Whether (vocabulary,) logits are equal up to rounding, and how far they are from it."""
        spread = float(self._full.std())
        least = max(
            _QUANTISED_TOLERANCE if hasattr(self._model, "hf_quantizer") else _TOLERANCE,
            _TOLERATED_STEPS * torch.finfo(self._model.dtype).eps,
        )
        tolerance = max(least * spread, min(_ROUNDING * self._rounding, _LARGEST_ROUNDING * spread))
        difference = float((logits - reference).abs().max())
        return difference <= tolerance, f"largest difference of logits {difference:.2g}"


def _beside_text(inputs: Inputs) -> tuple[list[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """A prompt with an image and a longer one of text alone, each by itself and as one padded batch."""
    ids = inputs["input_ids"]
    text = {"input_ids": ids[:, -1:].repeat(1, ids.shape[1] + 3)}
    text["attention_mask"] = torch.ones_like(text["input_ids"])
    batch = dict(inputs)
    for name, value in inputs.items():
        if value.shape == ids.shape:
            other = text.get(name, torch.zeros_like(text["input_ids"]).to(value.dtype))
            batch[name] = torch.cat([torch.nn.functional.pad(value, (3, 0)), other])
    return [dict(inputs), text], batch


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
