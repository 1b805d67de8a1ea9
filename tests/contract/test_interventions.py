"""Every kind of intervention, in every family, against the masked reference; see also test_families.py."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from halfv_core import Freeze, HalfVError, Hide, Keep, Plan, Selection, When, apply
from halfv_core.cost import DecoderShape, cost_of, tokens_by_layer
from halfv_core.families import FAMILIES, parts_of
from halfv_core.merges import MERGES
from halfv_core.merges.base import Merged
from halfv_core.rules import RULES
from halfv_core.selectors import SELECTORS
from tests.flash import flash_model
from tests.masked_reference import Chosen, generate_by_recomputation, masked_logits
from tests.tiny import IMAGE, LAYERS, VIDEO, continued, padded, tiny_batch, tiny_model, tiny_prompt

FAMILY = pytest.mark.parametrize("family", sorted(FAMILIES))
NEW_TOKENS = 4
SOME = {"keep_ratio": 0.4, "selector": "attention"}
MATTERS = {"rule": "contribution", "options": {"threshold": 0.9999999}}

PLANS = {
    "keep_before_the_decoder": Plan((Keep(layer=0, keep_ratio=0.4, selector="divprune"),)),
    "keep_in_all_caches": Plan(
        (Keep(layer=1, keep_ratio=0.7, selector="uniform"), Keep(layer=3, cache="everywhere", **SOME))
    ),
    "cut_caches_of_what_left_before": Plan(
        (Keep(layer=1, keep_ratio=0.0), Keep(layer=2, keep_ratio=0.0, cache="everywhere"))
    ),
    "freeze_all_but_some": Plan((Freeze(layers=[0, 2, 3], keep_ratio=0.3, selector="random"),)),
    "freeze_all_but_a_number": Plan(
        (Keep(layer=2, keep_ratio=0.7), Freeze(layers=[2, 3, 4], tokens=3, selector="attention"))
    ),
    "hide": Plan((Hide(layers=[1, 2, 4]),)),
    "hide_from_the_start": Plan((Hide(layers=[0, 1]),)),
    "hide_to_the_end": Plan((Hide(layers=range(2, LAYERS)),)),
    "hide_all_but_some": Plan((Hide(layers=[1, 2], **SOME), Hide(layers=[4], keep_ratio=0.8, selector="uniform"))),
    "all_together": Plan(
        (
            Keep(layer=0, keep_ratio=0.8, selector="uniform"),
            Hide(layers=[1], keep_ratio=0.2, selector="random"),
            Freeze(layers=[2, 3]),
            Keep(layer=4, keep_ratio=0.3, selector="attention", cache="everywhere"),
        )
    ),
    "when": Plan((When(**MATTERS, from_layer=2, then=Selection(**SOME)),)),
    "when_twice": Plan(
        (
            When(**MATTERS, from_layer=1, then=Selection(keep_ratio=0.6, selector="uniform")),
            When(
                rule="exhausted", options={"threshold": -1.0, "layers": 2}, from_layer=1, then=Selection(keep_ratio=0.0)
            ),
        )
    ),
    "when_settled": Plan((When(rule="settled", options={"layers": 1}, from_layer=2, then=Selection(keep_ratio=0.0)),)),
    "threshold": Plan((Keep(layer=2, selector="visipruner", options={"threshold": 0.6, "relative": True}),)),
}
PLAN = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
ONE_AXIS = [family for family in sorted(FAMILIES) if not (family.startswith("qwen") or family == "gemma3")]
RENUMBERED = Plan(
    (
        Keep(layer=1, keep_ratio=0.7, selector="uniform", positions="renumbered"),
        Keep(layer=3, keep_ratio=0.3, selector="attention", positions="renumbered"),
    )
)


@contextmanager
def noted_merges(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[list[Merged]]:
    """Inside the block, what a merge returns is noted."""
    merge, noted = MERGES[name].merge, []

    def noting(self: Any, *args: Any) -> Merged:
        noted.append(merge(self, *args))
        return noted[-1]

    with monkeypatch.context() as patch:
        patch.setattr(MERGES[name], "merge", noting)
        yield noted


def check(family: str, kernel: str, plan: Plan, inputs: dict[str, Any]) -> None:
    """Logits, generated tokens and cost of a run are those of the masked reference and of the arithmetic."""
    model = tiny_model(family, kernel=kernel)
    real = inputs["attention_mask"][0].bool()
    with torch.no_grad(), apply(model, plan) as run:
        logits = model(**inputs).logits[0]
        chosen, cost = Chosen.of(run), run.cost
        ids = model.generate(**inputs, do_sample=False, max_new_tokens=NEW_TOKENS)[0]
    expected = masked_logits(model, inputs, plan, chosen)
    visual = torch.isin(inputs["input_ids"][0], torch.tensor([IMAGE, VIDEO]))
    torch.testing.assert_close(logits[real & ~visual], expected[real & ~visual], atol=1e-5, rtol=1e-5)
    generated = ids[inputs["input_ids"].shape[1] :].tolist()
    assert generated == generate_by_recomputation(model, inputs, plan, chosen, NEW_TOKENS)
    if plan.is_known_beforehand and bool(real.all()):
        shape = DecoderShape.of(parts_of(model).decoder.config, 4)
        count = int(visual.sum())
        assert cost == cost_of(shape, tokens_by_layer(plan, LAYERS, count, len(visual) - count))


@FAMILY
@PLAN
def test_plan_equals_masked_reference(family: str, plan: Plan) -> None:
    check(family, "sdpa", plan, tiny_prompt(family, images=2, before=0))


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3"])
@PLAN
def test_plan_equals_masked_reference_in_eager_attention(family: str, plan: Plan) -> None:
    check(family, "eager", plan, tiny_prompt(family, images=3, between=(5, 1), after=2))


@pytest.mark.usefixtures("flash")
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
@PLAN
@torch.no_grad()
def test_flash_attention_gives_the_same(family: str, plan: Plan) -> None:
    batch = tiny_batch(family, [{}, {"images": 2, "after": 9}])
    found = []
    for model in (flash_model(family), tiny_model(family)):
        with apply(model, plan):
            ids = model.generate(**batch, do_sample=False, max_new_tokens=NEW_TOKENS)
            found.append((model(**batch).logits[:, -1], ids))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-5)
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
@pytest.mark.parametrize("plan", [*PLANS.values(), RENUMBERED], ids=[*PLANS, "renumbered"])
@torch.no_grad()
def test_beams_score_as_the_masked_reference_scores_them(family: str, plan: Plan) -> None:
    if plan is RENUMBERED and family not in ONE_AXIS:
        pytest.skip("positions of several axes")
    model, inputs, beams = tiny_model(family), tiny_prompt(family, images=2), 3
    length = inputs["input_ids"].shape[1]
    with apply(model, plan) as run:
        found = model.generate(
            **inputs, num_beams=beams, num_return_sequences=2, max_new_tokens=NEW_TOKENS, do_sample=False,
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        chosen = Chosen.of(run)
    for ids, score in zip(found.sequences, found.sequences_scores, strict=True):
        answer = ids[None, length:]
        logits = masked_logits(model, continued(inputs, answer), plan, chosen, [length])[length - 1 : -1]
        likelihood = logits.log_softmax(-1).gather(1, answer[0][:, None]).mean()
        torch.testing.assert_close(score, likelihood, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "qwen3_vl"])
@PLAN
def test_left_padding_equals_masked_reference(family: str, plan: Plan) -> None:
    check(family, "sdpa", plan, padded(tiny_prompt(family), 3))


@pytest.mark.parametrize("family", ONE_AXIS)
@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_positions_without_gaps_equal_masked_reference(family: str, kernel: str) -> None:
    check(family, kernel, RENUMBERED, tiny_prompt(family, images=2))
    check(family, kernel, RENUMBERED, padded(tiny_prompt(family), 3))


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - set(ONE_AXIS)))
def test_positions_of_several_axes_are_not_counted_anew(family: str) -> None:
    with pytest.raises(HalfVError, match="positions='kept'"), apply(tiny_model(family), RENUMBERED):
        pass


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
@PLAN
def test_rows_of_a_batch_are_as_if_alone(family: str, plan: Plan) -> None:
    prompts = [{"images": 1}, {"images": 2, "after": 9}, {"images": 0}]
    model, batch = tiny_model(family), tiny_batch(family, prompts)
    with torch.no_grad(), apply(model, plan) as run:
        together = model(**batch).logits[:, -1]
        kept = run.kept
        for row, prompt in enumerate(prompts):
            inputs = tiny_prompt(family, seed=row, **prompt)
            alone = model(**inputs).logits[0, -1]
            torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=1e-5)
            left = batch["input_ids"].shape[1] - inputs["input_ids"].shape[1]
            for layer, rows in run.kept.items():
                assert (kept[layer][row] - left).tolist() == rows[0].tolist()


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
@pytest.mark.parametrize("name", [*PLANS, "renumbered"])
def test_a_second_turn_sees_what_the_first_left(family: str, name: str) -> None:
    """Two turns, with an image each, in one cache, equal the masked reference of each turn's own choice."""
    plan = RENUMBERED if name == "renumbered" else PLANS[name]
    if plan is RENUMBERED and family not in ONE_AXIS:
        pytest.skip("positions of several axes")
    model, first = tiny_model(family), tiny_prompt(family, images=1)
    more = torch.tensor([[7, 8, 9]])
    with torch.no_grad(), apply(model, plan) as run:
        output = model(**first, use_cache=True)
        chosen = Chosen.of(run)
        length = first["input_ids"].shape[1]
        cache = output.past_key_values
        assert cache.get_seq_length() == length
        followed = model(input_ids=more, past_key_values=cache, use_cache=True).logits[0]
        assert cache.get_seq_length() == length + 3
    expected = masked_logits(model, continued(first, more), plan, chosen, [length])[-3:]
    torch.testing.assert_close(followed, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
@pytest.mark.parametrize("name", sorted(MERGES))
def test_merged_tokens_equal_masked_reference(family: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = tiny_model(family), tiny_prompt(family, images=2)
    selector = name if name in SELECTORS else "uniform"
    options = {"layer": -1}  # of the vision tower, which has one
    keep = Keep(
        layer=2,
        keep_ratio=0.3,
        selector=selector,
        options=options if "vision" in SELECTORS[selector]().reads() else {},
        merge=name,
        merge_options=options if "vision" in MERGES[name]().reads() else {},
    )
    plan = Plan((keep,))
    with noted_merges(monkeypatch, name) as noted, torch.no_grad(), apply(model, plan) as run:
        logits, kept, cost = model(**inputs).logits[0, -1], run.kept, run.cost
    (merged,) = noted
    states = merged.states[merged.chosen.argsort()]
    assert len(states) == len(kept[2][0])
    expected = masked_logits(model, inputs, plan, Chosen({2: kept[2][0]}, merged={2: states}))[-1]
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    shape = DecoderShape.of(parts_of(model).decoder.config, 4)
    visual = int((inputs["input_ids"] == IMAGE).sum())
    assert cost == cost_of(shape, tokens_by_layer(plan, LAYERS, visual, inputs["input_ids"].shape[1] - visual))


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_a_rule_that_never_holds_leaves_the_model_alone(family: str) -> None:
    model, inputs = tiny_model(family), tiny_prompt(family)
    never = When(rule="contribution", options={"threshold": -1.0}, from_layer=1, then=Selection(keep_ratio=0.1))
    with torch.no_grad():
        expected = model(**inputs).logits
        with apply(model, Plan((never,))) as run:
            assert torch.equal(model(**inputs).logits, expected)
        assert run.fired == [[None]] and run.cost.flops_ratio == 1.0


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_a_rule_prunes_each_row_where_it_holds(family: str) -> None:
    """The rule is that of the row alone: the layer at which it holds, and what is kept there."""
    model = tiny_model(family)
    plan = Plan((When(rule="contribution", options={"threshold": 0.98}, from_layer=1, then=Selection(**SOME)),))
    prompts = [{"images": 1}, {"images": 2, "after": 9}, {"images": 0}]
    with torch.no_grad(), apply(model, plan) as run:
        model(**tiny_batch(family, prompts))
        together = run.fired[0]
        alone = []
        for row, prompt in enumerate(prompts):
            model(**tiny_prompt(family, seed=row, **prompt))
            alone += run.fired[0]
    assert together == alone and alone[2] is None


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
@pytest.mark.parametrize("from_layer", [1, 2])
def test_a_when_counts_only_once_the_one_before_it_has_pruned(family: str, from_layer: int) -> None:
    """In each row: as many layers later as it has to hold at, wherever it may start; never if the first one waits."""
    model, batch = tiny_model(family), tiny_batch(family, [{"images": 1}, {"images": 2, "after": 9}])
    with torch.no_grad():
        for threshold in (0.98, 0.995, -1.0):
            first = When(
                rule="contribution", options={"threshold": threshold}, from_layer=1, then=Selection(keep_ratio=0.9)
            )
            always = {"rule": "exhausted", "options": {"threshold": -1.0, "layers": 2}, "from_layer": from_layer}
            with apply(model, Plan((first, When(**always, then=Selection(keep_ratio=0.0))))) as run:
                model(**batch)
            expected = [None if layer is None or layer + 2 >= LAYERS else layer + 2 for layer in run.fired[0]]
            assert run.fired[1] == expected


def test_every_rule_is_asked() -> None:
    assert {item.rule for plan in PLANS.values() for item in plan.whens} == set(RULES)
