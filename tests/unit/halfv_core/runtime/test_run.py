"""apply(): what it refuses, and that it leaves the model as it was."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, StaticCache
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from halfv_core import Family, Freeze, HalfVError, Keep, Plan, apply
from halfv_core.errors import ModelError, PlanError, UnsupportedError
from halfv_core.families import FAMILIES
from halfv_core.families.unsupported import UNSUPPORTED
from tests.flash import flash_model
from tests.tiny import LAYERS, tiny_batch, tiny_model, tiny_prompt

PLAN = Plan((Keep(layer=2, keep_ratio=0.5), Freeze(layers=[4])))


def traces(model: PreTrainedModel) -> list[tuple[str, list[str], int, int]]:
    """Everything that apply() could leave behind in a module."""
    return [
        (name, sorted(module.__dict__), len(module._forward_hooks), len(module._forward_pre_hooks))
        for name, module in model.named_modules()
    ]


def test_exit_restores_the_model() -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    logits = model(**inputs).logits  # transformers hooks its vision tower at the first call
    before = traces(model)
    with apply(model, PLAN):
        assert traces(model) != before
        model.generate(**inputs, max_new_tokens=2)
    assert traces(model) == before
    assert torch.equal(model(**inputs).logits, logits)


def test_exit_restores_the_model_after_an_exception_inside() -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    model(**inputs)
    before = traces(model)
    with pytest.raises(RuntimeError, match="boom"), apply(model, PLAN):
        model(**inputs)
        raise RuntimeError("boom")
    assert traces(model) == before


def test_exit_restores_the_model_after_an_exception_in_the_middle_of_a_forward() -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    logits = model(**inputs).logits  # transformers hooks its vision tower at the first call
    before = traces(model)
    static = StaticCache(config=model.config.get_text_config(), max_cache_len=64)
    with pytest.raises(UnsupportedError), apply(model, PLAN):
        model(**inputs, past_key_values=static)
    assert traces(model) == before
    with apply(model, PLAN):
        pass
    assert torch.equal(model(**inputs).logits, logits)


def test_a_forward_that_was_set_on_the_instance_stays() -> None:
    model = tiny_model("llava")
    layer = model.model.language_model.layers[2]
    calls: list[int] = []
    own = layer.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return own(*args, **kwargs)

    layer.forward = counted
    with apply(model, PLAN):
        model(**tiny_prompt("llava"))
    assert layer.__dict__["forward"] is counted
    assert calls == [1]


def test_two_models_at_once_do_not_disturb_each_other() -> None:
    one, two, inputs = tiny_model("llava"), tiny_model("llava", seed=1), tiny_prompt("llava")
    with apply(one, PLAN):
        alone = one(**inputs).logits
    with apply(two, Plan((Keep(layer=1, keep_ratio=0.2),))) as other, apply(one, PLAN) as run:
        two(**inputs)
        assert torch.equal(one(**inputs).logits, alone)
        assert len(run.kept[2][0]) == 8
        assert len(other.kept[1][0]) == 3


def test_two_models_in_threads_do_not_disturb_each_other() -> None:
    """Each thread runs its own model under its own plan, batch and kernel, many times over."""
    cases = [
        (tiny_model("llava", kernel="eager"), tiny_batch("llava", [{}, {"images": 2}]), PLAN),
        (tiny_model("qwen2_5_vl"), tiny_prompt("qwen2_5_vl"), Plan((Keep(layer=1, keep_ratio=0.2),))),
        (tiny_model("qwen2_5_vl", seed=1), tiny_prompt("qwen2_5_vl", images=2), Plan(())),
    ]

    def answers(case: tuple[PreTrainedModel, dict[str, Any], Plan], times: int) -> list[tuple[Any, Any]]:
        model, inputs, plan = case
        found = []
        for _ in range(times):
            with apply(model, plan) as run:
                ids = model.generate(**inputs, do_sample=False, max_new_tokens=6)
                found.append((ids.tolist(), [row.tolist() for rows in run.kept.values() for row in rows]))
        return found

    alone = [answers(case, 1)[0] for case in cases]
    with ThreadPoolExecutor(len(cases)) as threads:
        together = list(threads.map(lambda case: answers(case, 12), cases))
    assert together == [[one] * 12 for one in alone]


@pytest.mark.parametrize("kernel", ["sdpa", "flash_attention_2"])
def test_one_model_serves_several_threads(kernel: str, flash: None) -> None:
    """Prompts of several threads run through one apply(): each is answered as if alone."""
    model = flash_model("llava") if kernel == "flash_attention_2" else tiny_model("llava")
    prompts = [tiny_prompt("llava", seed=n, before=n, images=n % 3) for n in range(4)] + [
        tiny_batch("llava", [{}, {"images": 2}])
    ]

    def answer(inputs: dict[str, Any]) -> list[list[list[int]]]:
        return [model.generate(**inputs, do_sample=False, max_new_tokens=6).tolist() for _ in range(10)]

    with apply(model, PLAN) as run:
        alone = [answer(inputs)[0] for inputs in prompts]
        with ThreadPoolExecutor(len(prompts)) as threads:
            together = list(threads.map(answer, prompts))
        assert together == [[one] * 10 for one in alone]
        with ThreadPoolExecutor(1) as streaming:
            streaming.submit(answer, prompts[1]).result()
        assert [len(row) for row in run.kept[2]] == [8]


def test_two_caches_taken_in_turn() -> None:
    model = tiny_model("llava")
    first, second = tiny_prompt("llava", seed=1), tiny_prompt("llava", before=7, seed=2)
    token = torch.tensor([[5]])
    with torch.no_grad(), apply(model, PLAN):
        alone = []
        for inputs in (first, second):
            cache = model(**inputs, use_cache=True).past_key_values
            alone.append(model(input_ids=token, past_key_values=cache, use_cache=True).logits)
        caches = [model(**inputs, use_cache=True).past_key_values for inputs in (first, second)]
        mixed = [model(input_ids=token, past_key_values=cache, use_cache=True).logits for cache in caches]
    assert all(torch.equal(a, b) for a, b in zip(alone, mixed, strict=True))


def test_anchors_are_told_row_by_row_as_each_row_would_have_them_alone() -> None:
    prompts = [{}, {"images": 2}]
    plan = Plan((Keep(layer=2, keep_ratio=0.5, options={"anchor_share": 0.5}), Keep(layer=3, keep_ratio=0.25)))
    batch = tiny_batch("llava", prompts)
    model = tiny_model("llava")
    with torch.no_grad(), apply(model, plan) as run:
        model(**batch)
        together = run.anchors
        for row, prompt in enumerate(prompts):
            alone = tiny_prompt("llava", seed=row, **prompt)
            gap = batch["input_ids"].shape[1] - alone["input_ids"].shape[1]
            model(**alone)
            for layer, share in ((2, 0.5), (3, 0.1)):
                kept, anchors = run.kept[layer][0].tolist(), run.anchors[layer][0].tolist()
                assert len(anchors) == int(len(kept) * share)
                assert set(anchors) <= set(kept)
                assert {position + gap for position in anchors} == set(together[layer][row].tolist())


def test_a_cache_filled_before_apply_is_continued_unpruned() -> None:
    model, inputs, token = tiny_model("qwen2_5_vl"), tiny_prompt("qwen2_5_vl"), torch.tensor([[5]])
    with torch.no_grad():
        full = [model(**inputs, use_cache=True).past_key_values for _ in range(2)]
        expected = model(input_ids=token, past_key_values=full[0], use_cache=True).logits
        with apply(model, PLAN):
            found = model(input_ids=token, past_key_values=full[1], use_cache=True).logits
    assert torch.equal(expected, found)


def test_an_image_token_that_the_model_writes_is_text() -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    with torch.no_grad(), apply(model, PLAN) as run:
        cache = model(**inputs, use_cache=True).past_key_values
        model(input_ids=torch.tensor([[60]]), past_key_values=cache, use_cache=True)
    assert len(run.kept[2][0]) == 8


def test_a_prompt_that_ends_in_its_image_keeps_its_last_token() -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava", after=0)
    with torch.no_grad(), apply(model, Plan((Keep(layer=1, keep_ratio=0.0),))):
        dropped = model(**inputs).logits[0, -1]
    assert dropped.any()


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda m, x: m.generate(**x, prompt_lookup_num_tokens=2), UnsupportedError, "assisted decoding cannot run"),
        (lambda m, x: m.generate(**x, assistant_model=m), UnsupportedError, "leave out the assistant"),
        (
            lambda m, x: m(**x, past_key_values=StaticCache(config=m.config.get_text_config(), max_cache_len=64)),
            UnsupportedError,
            "got StaticCache; expected DynamicCache",
        ),
        (
            lambda m, x: m(inputs_embeds=m.get_input_embeddings()(x["input_ids"])),
            UnsupportedError,
            "pass input_ids",
        ),
    ],
)
def test_refusals_inside(call: Any, error: type[HalfVError], said: str) -> None:
    model = tiny_model("llava")
    with pytest.raises(error) as caught, torch.no_grad(), apply(model, PLAN):
        call(model, tiny_prompt("llava"))
    assert said in str(caught.value)


def test_a_cut_cache_goes_on_where_it_was_cut() -> None:
    model, inputs, token = tiny_model("llava"), tiny_prompt("llava"), torch.tensor([[5]])
    with torch.no_grad(), apply(model, PLAN):
        cache = model(**inputs, use_cache=True).past_key_values
        first = model(input_ids=token, past_key_values=cache, use_cache=True).logits
        model(input_ids=torch.tensor([[6, 7]]), past_key_values=cache, use_cache=True)
        cache.crop(-3)
        assert torch.equal(model(input_ids=token, past_key_values=cache, use_cache=True).logits, first)


@pytest.mark.parametrize(
    ("cut", "said"),
    [
        (lambda cache: cache.crop(-3), "cut into the prompt; got 24; expected 26 or more"),
        (lambda cache: cache.layers[3].crop(-1), "no longer fit together; got 18 tokens at layer 3; expected 19"),
    ],
)
def test_a_cache_that_no_longer_fits_is_refused_instead_of_misread(cut: Any, said: str) -> None:
    model, inputs, token = tiny_model("llava"), tiny_prompt("llava"), torch.tensor([[5]])
    with torch.no_grad(), apply(model, PLAN):
        cache = model(**inputs, use_cache=True).past_key_values
        model(input_ids=token, past_key_values=cache, use_cache=True)
        cut(cache)
        with pytest.raises(UnsupportedError) as caught:
            model(input_ids=token, past_key_values=cache, use_cache=True)
    assert said in str(caught.value)


def test_refusals_at_the_door() -> None:
    model = tiny_model("llava")
    with apply(model, PLAN), pytest.raises(UnsupportedError, match="applied to this model already"):  # noqa: SIM117
        with apply(model, PLAN):
            pass
    with pytest.raises(PlanError, match=f"got layer {LAYERS}"), apply(model, Plan((Freeze(layers=[LAYERS]),))):
        pass
    model.config.get_text_config()._attn_implementation = "flex_attention"
    with pytest.raises(UnsupportedError, match="got flex_attention; expected eager, sdpa or a"), apply(model, PLAN):
        pass
    model.config.model_type = "mllama"
    with pytest.raises(ModelError, match="not supported: images enter through cross-attention"), apply(model, PLAN):
        pass
    model.config.model_type = "unheard_of"
    with pytest.raises(ModelError, match=r"Family\(\.\.\.\) and pass it as family="), apply(model, PLAN):
        pass


def short_sighted(window: int = 27) -> PreTrainedModel:
    """Gemma 3 whose sliding layers see fewer tokens than the prompt of 28 has, or as many as said."""
    model = tiny_model("gemma3")
    text = model.config.get_text_config()
    text.sliding_window = window
    return model


def test_a_prompt_beyond_the_sliding_window_is_refused() -> None:
    model, inputs = short_sighted(), tiny_prompt("gemma3")
    with torch.no_grad():
        whole = model(**inputs).logits
        with apply(model, Plan(())):
            assert torch.equal(model(**inputs).logits, whole)
        with pytest.raises(UnsupportedError) as caught, apply(model, PLAN):
            model(**inputs)
    assert str(caught.value) == (
        "a plan works only while prompt and answer fit the decoder's sliding window; got 28 tokens; expected 27 or "
        "fewer; shorten the prompt or the answer, or run this one without the plan"
    )


def test_an_answer_beyond_the_sliding_window_is_refused() -> None:
    inputs, options = tiny_prompt("gemma3"), {"do_sample": False, "max_new_tokens": 5}
    wide, narrow = tiny_model("gemma3"), short_sighted(32)
    with apply(wide, PLAN):
        answer = wide.generate(**inputs, **options)
    with apply(narrow, PLAN):
        assert torch.equal(narrow.generate(**inputs, **options), answer)  # its last token is never fed
        with pytest.raises(UnsupportedError, match="got 33 tokens; expected 32 or fewer"):
            narrow.generate(**inputs, do_sample=False, max_new_tokens=6)


def test_text_alone_may_outgrow_the_sliding_window() -> None:
    model, inputs = short_sighted(8), tiny_prompt("gemma3", images=0)
    ids = model.generate(**inputs, do_sample=False, max_new_tokens=4)
    with apply(model, PLAN):
        assert torch.equal(model.generate(**inputs, do_sample=False, max_new_tokens=4), ids)


def test_layers_of_an_unknown_kind_are_refused() -> None:
    model = tiny_model("gemma3")
    model.config.get_text_config().layer_types = ["full_attention", "chunked_attention"]
    with pytest.raises(ModelError, match="not supported; got chunked_attention; expected full"), apply(model, PLAN):
        pass


def test_a_decoder_without_the_named_method_is_refused() -> None:
    family = Family(name="mine", decoders=("llama",), visual_tokens=("image_token_id",), deepstack="add_features")
    with pytest.raises(ModelError, match="no model.language_model.add_features"):  # noqa: SIM117
        with apply(tiny_model("llava"), PLAN, family=family):
            pass


def test_a_family_can_be_described_by_hand() -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    model.config.model_type = "mllama"
    with pytest.raises(ModelError, match="not supported: images enter through cross-attention"), apply(model, PLAN):
        pass
    model.config.model_type = "unheard_of"
    family = Family(name="mine", decoders=("llama",), visual_tokens=("image_token_id",))
    with torch.no_grad(), apply(model, PLAN, family=family) as run:
        model(**inputs)
    assert len(run.kept[2][0]) == 8


def test_cost_counts_text_prompts_and_the_latest_prompt_alone() -> None:
    model, token = tiny_model("llava"), torch.tensor([[5]])
    text, image = tiny_prompt("llava", images=0), tiny_prompt("llava")
    with torch.no_grad(), apply(model, PLAN) as run:
        older = model(**image, use_cache=True).past_key_values
        latest = model(**text, use_cache=True).past_key_values
        for cache in (older, older, latest):
            model(input_ids=token, past_key_values=cache, use_cache=True)
        assert run.cost.kv_bytes == run.cost.kv_bytes_full == LAYERS * 2 * 11 * 32 * 4
        assert run.cost.flops_ratio == 1.0


def test_hidden_states_are_those_of_the_tokens_that_go_on() -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    with torch.no_grad(), apply(model, PLAN):
        states = model(**inputs, output_hidden_states=True).hidden_states
    length = inputs["input_ids"].shape[1]
    assert [state.shape[1] for state in states] == [*[length] * 3, *[length - 8] * 2, length]


def test_labels_give_the_loss_of_the_text_behind_the_image() -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    labels = inputs["input_ids"].clone()
    labels[0, : 4 + 16 + 1] = -100  # text, image, and the word that the last visual token predicts
    with torch.no_grad(), apply(model, PLAN):
        found = model(**inputs, labels=labels)
    rows = found.logits[0, 4 + 16 : -1].log_softmax(-1)
    expected = -rows.gather(1, labels[0, 4 + 16 + 1 :, None]).mean()
    torch.testing.assert_close(found.loss, expected)


def test_a_compiled_model_is_refused(recwarn: pytest.WarningsRecorder) -> None:
    warnings.simplefilter("ignore", DeprecationWarning)  # of torch.compile's own imports
    in_place = tiny_model("llava")
    in_place.compile()
    for compiled in (in_place, torch.compile(tiny_model("llava"))):
        with pytest.raises(UnsupportedError, match="compiled model"), apply(compiled, PLAN):
            pass


def test_cost_before_anything_ran_is_refused() -> None:
    with apply(tiny_model("llava"), PLAN) as run, pytest.raises(UnsupportedError, match="call the model first"):
        _ = run.cost


def test_reasons_are_given_for_types_that_exist_and_are_not_registered() -> None:
    assert not set(UNSUPPORTED) & set(FAMILIES)
    assert set(UNSUPPORTED) <= set(CONFIG_MAPPING_NAMES)
