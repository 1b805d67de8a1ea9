"""What a plan left in a KV cache travels with it: a changed cache goes on as the masked reference does."""

import copy
import pickle
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import DynamicCache, PreTrainedModel

from halfv_core import Plan, apply
from tests.masked_reference import masked_logits
from tests.tiny import TINY, continued, padded, tiny_batch, tiny_model, tiny_prompt
from tests.unit.halfv_core.runtime.caches import FAMILY, KERNEL, OTHER, PLAN, PROMPTS, TOKEN, Change, kept_in
from tests.unit.halfv_core.runtime.test_turns import TEXT, in_cache, joined, positions


def selected(cache: DynamicCache) -> DynamicCache:
    chosen = copy.deepcopy(cache)
    chosen.batch_select_indices(torch.tensor([2, 0]))
    chosen.batch_repeat_interleave(2)
    return chosen


CHANGES: dict[str, tuple[Change, list[int]]] = {
    "deepcopy": (copy.deepcopy, [0, 1, 2]),
    "copy": (copy.copy, [0, 1, 2]),
    "pickle": (lambda cache: pickle.loads(pickle.dumps(cache)), [0, 1, 2]),  # noqa: S301
    "repeat": (lambda cache: cache.batch_repeat_interleave(2), [0, 0, 1, 1, 2, 2]),
    "select": (lambda cache: cache.batch_select_indices(torch.tensor([2, 0])), [2, 0]),
    "select_by_mask": (lambda cache: cache.batch_select_indices(torch.tensor([False, True, True])), [1, 2]),
    "reorder": (lambda cache: cache.reorder_cache(torch.tensor([1, 1, 0])), [1, 1, 0]),
    "copy_then_select_then_repeat": (selected, [2, 2, 0, 0]),
}


def rows_alone(family: str, prompts: Sequence[dict[str, Any]], length: int) -> list[dict[str, Any]]:
    """Each prompt of a batch as a batch of its own, with the same padding on the left."""
    alone = [tiny_prompt(family, seed=seed, **prompt) for seed, prompt in enumerate(prompts)]
    return [padded(one, length - one["input_ids"].shape[1]) for one in alone]


def fed(model: PreTrainedModel, rows: Sequence[dict[str, Any]], cache: DynamicCache, *parts: torch.Tensor) -> Any:
    """(B, t, vocabulary) logits of text (1, t) that follows the rows in the cache, one part after the other."""
    found, rows = [], list(rows)
    for text in parts:
        rows = [continued(row, text) for row in rows]
        inputs = {
            "input_ids": text.expand(len(rows), -1),
            "attention_mask": torch.cat([row["attention_mask"] for row in rows]),
        }
        index = [positions(model, row, text.shape[1]).get("position_ids") for row in rows]
        if index[0] is not None:  # with a mask, the Qwen models take several tokens at once only with their positions
            inputs["position_ids"] = torch.cat([one for one in index if one is not None], 1)
        found.append(model(**inputs, past_key_values=cache, use_cache=True).logits)
    return torch.cat(found, 1)


@FAMILY
@KERNEL
@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS.keys())
@torch.no_grad()
def test_a_changed_cache_goes_on_as_the_masked_reference(
    family: str, kernel: str, prompts: list[dict[str, Any]]
) -> None:
    """Several tokens at once and then one, after each change of the cache; the original goes on too, also when cut."""
    model, batch = tiny_model(family, kernel=kernel), tiny_batch(family, prompts)
    alone = rows_alone(family, prompts, batch["input_ids"].shape[1])
    with apply(model, PLAN) as run:
        model(**batch, use_cache=True)
        kept = {layer: [row.tolist() for row in rows] for layer, rows in run.kept.items()}
        expected = [
            masked_logits_outside(family, kernel, continued(one, torch.cat([TEXT, TOKEN], 1)), kept_in(run, row))[-4:]
            for row, one in enumerate(alone)
        ]
        for name, (change, order) in CHANGES.items():
            cache = model(**batch, use_cache=True).past_key_values
            changed = change(cache) or cache
            logits = fed(model, [alone[row] for row in order], changed, TEXT, TOKEN)
            wanted = torch.stack([expected[row] for row in order])
            torch.testing.assert_close(logits, wanted, atol=1e-5, rtol=1e-5, msg=lambda text, name=name: name + text)
            assert [row.tolist() for row in run.kept[3]] == [kept[3][row] for row in order]
            if name == "deepcopy":
                torch.testing.assert_close(fed(model, alone, cache, TEXT, TOKEN), wanted, atol=1e-5, rtol=1e-5)
                cache.crop(-4)
                torch.testing.assert_close(fed(model, alone, cache, TEXT, TOKEN), wanted, atol=1e-5, rtol=1e-5)


def masked_logits_outside(
    family: str, kernel: str, inputs: dict[str, Any], kept: dict[int, torch.Tensor], plan: Plan = PLAN
) -> torch.Tensor:
    """The reference, from another model with the same weights, as this one runs under the plan."""
    return masked_logits(tiny_model(family, kernel=kernel), inputs, plan, kept)


@FAMILY
@KERNEL
@torch.no_grad()
def test_rows_of_one_length_and_different_counts_keep_their_padding_hidden(family: str, kernel: str) -> None:
    """Without a padding mask, one token at a time: nothing but the cache's own state hides the padding slots."""
    longer = 25 + sum(map(len, TINY[family].around))
    model, batch = tiny_model(family, kernel=kernel), tiny_batch(family, [{"after": longer}, {"images": 2}])
    del batch["attention_mask"]
    tokens = torch.tensor([[5], [6]])
    with apply(model, PLAN):
        cache = model(**batch, use_cache=True).past_key_values
        copied, turned = copy.deepcopy(cache), copy.deepcopy(cache)
        turned.reorder_cache(torch.tensor([1, 0]))
        expected = model(input_ids=tokens, past_key_values=cache, use_cache=True).logits
        found = model(input_ids=tokens, past_key_values=copied, use_cache=True).logits
        swapped = model(input_ids=tokens.flip(0), past_key_values=turned, use_cache=True).logits.flip(0)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(swapped, expected)


@FAMILY
@torch.no_grad()
def test_an_image_after_a_change_of_rows_is_pruned(family: str) -> None:
    model, prompts = tiny_model(family), [{"before": 2, "after": 5}, {"before": 4, "after": 3}]
    rows = [tiny_prompt(family, seed=seed, **prompt) for seed, prompt in enumerate(prompts)]
    later = tiny_prompt(family, seed=7, images=2)
    with apply(model, OTHER) as run:
        cache = model(**tiny_batch(family, prompts), use_cache=True).past_key_values
        cache.batch_select_indices(torch.tensor([1]))
        logits = model(**in_cache(model, rows[1], later), past_key_values=cache, use_cache=True).logits[0, -1]
        kept = kept_in(run, 0)
    assert [len(row) for row in run.kept[1]] == [8 + 16]
    expected = masked_logits(model, joined(family, rows[1], later), OTHER, kept)[-1]
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


@FAMILY
@KERNEL
@torch.no_grad()
def test_generate_answers_several_questions_from_copies_of_one_cache(family: str, kernel: str) -> None:
    """And the cost is that of the prompt and the copy that was used last."""
    model, prompt = tiny_model(family, kernel=kernel), tiny_prompt(family)
    options = {"do_sample": False, "max_new_tokens": 4, "return_dict_in_generate": True}
    with apply(model, PLAN) as run:
        cache = model(**prompt, use_cache=True).past_key_values
        for question in (TEXT, TEXT + 20):
            whole = {
                name: value
                for name, value in continued(prompt, question).items()
                if "pixel" not in name and "grid" not in name
            }
            fresh = model(**prompt, use_cache=True).past_key_values
            expected = model.generate(**whole, **options, past_key_values=fresh)
            found = model.generate(**whole, **options, past_key_values=copy.deepcopy(cache))
            assert torch.equal(found.sequences, expected.sequences)
        before = model(**prompt, use_cache=True).past_key_values
        found = model.generate(**whole, **options, past_key_values=copy.deepcopy(before))
        layers = found.past_key_values.layers
        sizes = [x.numel() * x.element_size() for layer in layers for x in (layer.keys, layer.values)]
        assert run.cost.kv_bytes == sum(sizes)
        assert sum(len(row) for row in run.kept[3]) == 3


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
@torch.no_grad()
def test_caches_in_turn_continue_at_their_own_positions(family: str) -> None:
    """The Qwen models keep on the model how far positions and token indices are apart in the latest prompt."""
    model, texts = tiny_model(family), [TEXT, TEXT + 20]
    prompts = [tiny_prompt(family, images=3, seed=1), tiny_prompt(family, seed=2)]
    options = {"do_sample": False, "max_new_tokens": 3, "return_dict_in_generate": True, "output_logits": True}
    with apply(model, OTHER) as run:
        caches, expected = [], []
        for prompt, text in zip(prompts, texts, strict=True):
            caches.append(model(**prompt, use_cache=True).past_key_values)
            whole = continued(prompt, text)
            expected.append(masked_logits_outside(family, "sdpa", whole, kept_in(run, 0), OTHER)[-1])
        for prompt, text, cache, wanted in zip(prompts, texts, caches, expected, strict=True):
            ids = torch.cat([prompt["input_ids"], text], 1)
            given = model.generate(input_ids=ids, past_key_values=copy.deepcopy(cache), **options).logits[0][0]
            found = model(input_ids=text, past_key_values=cache, use_cache=True).logits[0, -1]
            torch.testing.assert_close(torch.stack([given, found]), wanted.expand(2, -1), atol=1e-5, rtol=1e-5)


@FAMILY
@torch.no_grad()
def test_generate_goes_on_from_selected_rows(family: str) -> None:
    model, prompts = tiny_model(family), PROMPTS["different_counts"]
    batch = tiny_batch(family, prompts)
    options = {"do_sample": False, "max_new_tokens": 4}
    with apply(model, PLAN):
        cache = model(**batch, use_cache=True).past_key_values
        ids = torch.cat([batch["input_ids"], TEXT.expand(3, -1)], 1)
        mask = torch.cat([batch["attention_mask"], torch.ones(3, 3, dtype=torch.long)], 1)
        every = model.generate(input_ids=ids, attention_mask=mask, past_key_values=copy.deepcopy(cache), **options)
        for order in ([2, 0], [1, 0, 2]):
            chosen = copy.deepcopy(cache)
            chosen.batch_select_indices(torch.tensor(order))
            found = model.generate(input_ids=ids[order], attention_mask=mask[order], past_key_values=chosen, **options)
            assert torch.equal(found, every[order])


@FAMILY
@torch.no_grad()
def test_beams_go_on_from_repeated_rows(family: str) -> None:
    """One prefill, repeated for the beams: each answer scores as the masked reference scores it."""
    longer = 25 + sum(map(len, TINY[family].around))  # rows of one length: forward and generate() number padding apart
    model, prompts, beams = tiny_model(family), [{"after": longer}, {"images": 2}], 3
    batch = tiny_batch(family, prompts)
    alone = rows_alone(family, prompts, batch["input_ids"].shape[1])
    rows = [continued(one, TEXT) for one in alone]
    ids, mask = (torch.cat([row[name] for row in rows]) for name in ("input_ids", "attention_mask"))
    with apply(model, PLAN) as run:
        cache = model(**batch, use_cache=True).past_key_values
        kept = [kept_in(run, row) for row in range(2)]
        cache.batch_repeat_interleave(beams)
        found = model.generate(
            input_ids=ids, attention_mask=mask, past_key_values=cache, num_beams=beams, max_new_tokens=4,
            do_sample=False, return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
    for row, sequence in enumerate(found.sequences):
        answer = sequence[None, ids.shape[1] :]
        logits = masked_logits(model, continued(rows[row], answer), PLAN, kept[row])[-5:-1]
        likelihood = logits.log_softmax(-1).gather(1, answer[0][:, None]).mean()
        torch.testing.assert_close(found.sequences_scores[row], likelihood, atol=1e-5, rtol=1e-4)
