"""apply(): what it refuses, several models and threads, and what a forward call returns."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from transformers import DynamicCache, PreTrainedModel

from halfv_core import Freeze, HalfVError, Keep, Plan, apply
from halfv_core.errors import ModelError, PlanError, UnsupportedError
from tests.flash import flash_model
from tests.tiny import LAYERS, tiny_batch, tiny_model, tiny_prompt

PLAN = Plan((Keep(layer=2, keep_ratio=0.5), Freeze(layers=[4])))


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
            lambda m, x: m(**x, past_key_values=type("OwnCache", (DynamicCache,), {})()),
            UnsupportedError,
            "got OwnCache; expected DynamicCache",
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
    with pytest.raises(UnsupportedError, match="nothing is proven of it yet; prove it"), apply(model, PLAN):
        pass


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
