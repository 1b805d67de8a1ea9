"""A StaticCache under a plan holds and answers what a DynamicCache does."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, StaticCache
from transformers.generation.configuration_utils import CompileConfig

from halfv_core import Freeze, Hide, Keep, Plan, Run, apply
from halfv_core.errors import UnsupportedError
from tests.flash import flash_model
from tests.tiny import TINY, tiny_batch, tiny_model, tiny_prompt
from tests.unit.halfv_core.runtime.caches import FAMILY, KERNEL, PLAN, PROMPTS

PLANS = {
    "keep, freeze, keep": PLAN,
    "before the decoder": Plan([Keep(layer=0, keep_ratio=0.3, selector="uniform"), Freeze(layers=[2, 3])]),
    "earlier caches cut": Plan([Keep(layer=3, keep_ratio=0.2, cache="everywhere")]),
    "hidden, then nothing": Plan([Hide(layers=[1, 2]), Keep(layer=4, keep_ratio=0.0)]),
}
COMPILED = ("llava_next", "qwen2_5_vl")
NOTHING = {"empty": Plan(()), "keep all": Plan([Keep(layer=1, keep_ratio=1.0)])}


def static(model: PreTrainedModel, length: int = 96) -> StaticCache:
    return StaticCache(config=model.config.get_text_config(), max_cache_len=length)


def answered(model: PreTrainedModel, inputs: Mapping[str, Any], **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids of the answers, and the logits that they come from, (B, n) and (B, n, vocabulary)."""
    options = {"do_sample": False, "max_new_tokens": 6, **options}
    out = model.generate(**inputs, **options, return_dict_in_generate=True, output_logits=True)
    return out.sequences[:, inputs["input_ids"].shape[1] :], torch.stack(out.logits, 1)


def kept(run: Run) -> dict[int, list[list[int]]]:
    return {layer: [row.tolist() for row in rows] for layer, rows in run.kept.items()}


def check_same(model: PreTrainedModel, inputs: Mapping[str, Any], plan: Plan, **options: Any) -> None:
    with apply(model, plan) as run:
        tokens, logits = answered(model, inputs, num_beams=options.get("num_beams", 1))
        expected, cost = kept(run), run.cost
        found, found_logits = answered(model, inputs, **{"cache_implementation": "static", **options})
        assert (kept(run), run.cost) == (expected, cost)
    assert torch.equal(found, tokens)
    torch.testing.assert_close(found_logits, logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", TINY)
@torch.no_grad()
def test_every_family_answers_as_with_a_dynamic_cache(family: str) -> None:
    check_same(tiny_model(family), tiny_batch(family, PROMPTS["different_counts"]), PLAN)


@FAMILY
@KERNEL
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@torch.no_grad()
def test_every_kind_of_intervention(family: str, kernel: str, plan: Plan) -> None:
    model = tiny_model(family, kernel=kernel)
    for prompts in PROMPTS.values():
        check_same(model, tiny_batch(family, prompts), plan)
    check_same(model, tiny_prompt(family), plan)


@FAMILY
@KERNEL
@pytest.mark.parametrize("plan", NOTHING.values(), ids=NOTHING)
@torch.no_grad()
def test_a_plan_that_does_nothing_changes_no_bit(family: str, kernel: str, plan: Plan) -> None:
    model, batch = tiny_model(family, kernel=kernel), tiny_batch(family, PROMPTS["different_counts"])
    tokens, logits = answered(model, batch, cache_implementation="static")
    with apply(model, plan):
        found, found_logits = answered(model, batch, cache_implementation="static")
    assert torch.equal(found, tokens) and torch.equal(found_logits, logits)


@FAMILY
@torch.no_grad()
def test_beams_take_their_rows_along(family: str) -> None:
    check_same(tiny_model(family), tiny_batch(family, PROMPTS["different_counts"]), PLAN, num_beams=3)


@KERNEL
@torch.no_grad()
def test_forward_calls_by_hand_and_a_cache_that_is_used_again(kernel: str) -> None:
    model = tiny_model("llava", kernel=kernel)
    first, second = tiny_prompt("llava"), tiny_prompt("llava", seed=1, after=9)
    more = [torch.tensor([[5]]), torch.tensor([[6, 7]])]
    cache = static(model)
    with apply(model, PLAN):
        for prompt in (first, second):
            expected = model(**prompt, use_cache=True)
            cache.reset()
            found = model(**prompt, past_key_values=cache)
            torch.testing.assert_close(found.logits[:, -1], expected.logits[:, -1])
            for tokens in more:
                wanted = model(input_ids=tokens, past_key_values=expected.past_key_values).logits
                torch.testing.assert_close(model(input_ids=tokens, past_key_values=cache).logits, wanted)


@torch.no_grad()
def test_layers_hold_only_what_was_kept() -> None:
    model, prompt = tiny_model("llava"), tiny_prompt("llava")
    length, cache = prompt["input_ids"].shape[1], static(model)
    with apply(model, PLAN):
        model(**prompt, past_key_values=cache)
    held = [int(layer.get_seq_length()) for layer in cache.layers]
    assert held == [length, *[length - 16 + 9] * 2, *[length - 16 + 3] * (len(held) - 3)]
    assert not cache.layers[-1].keys[:, :, held[-1] :].any()


@torch.no_grad()
def test_a_pruned_static_cache_is_refused_without_its_plan() -> None:
    model, prompt, cache = tiny_model("llava"), tiny_prompt("llava"), static(tiny_model("llava"))
    with apply(model, PLAN):
        model(**prompt, past_key_values=cache)
    token = torch.tensor([[5]])
    with pytest.raises(UnsupportedError, match="was pruned under a plan and cannot be used without it"):
        model(input_ids=token, past_key_values=cache)
    with apply(model, Plan([Keep(layer=1, keep_ratio=0.5)])), pytest.raises(UnsupportedError, match="another plan"):
        model(input_ids=token, past_key_values=cache)
    cache.layers[2].cumulative_length.add_(1)
    with apply(model, PLAN), pytest.raises(UnsupportedError, match="no longer fit together; got 20 tokens at layer 2"):
        model(input_ids=token, past_key_values=cache)


@torch.no_grad()
def test_an_image_in_a_later_turn_is_refused() -> None:
    model, cache = tiny_model("llava"), static(tiny_model("llava"))
    with apply(model, PLAN):
        model(**tiny_prompt("llava", images=0), past_key_values=cache)
        with pytest.raises(UnsupportedError, match="got 10 tokens in it; expected an empty one in memory"):
            model(**tiny_prompt("llava"), past_key_values=cache)


@pytest.mark.usefixtures("flash")
@torch.no_grad()
def test_flash_attention_and_offloaded_layers_are_refused() -> None:
    model, prompt = flash_model("llava"), tiny_prompt("llava")
    with apply(model, PLAN), pytest.raises(UnsupportedError, match="got FlashAttention; expected an empty one"):
        model(**prompt, past_key_values=static(model))
    model = tiny_model("llava")
    cache = static(model)
    cache.offloading = True
    with apply(model, PLAN), pytest.raises(UnsupportedError, match="got offloaded layers; expected an empty one"):
        model(**prompt, past_key_values=cache)


@dataclass
class Compiling:
    """Options with which generate() compiles decoding on a CPU, as it does by itself on a GPU."""

    options: dict[str, Any]
    backend: Callable[..., Any]
    """Runs graphs as they are."""
    graphs: list[int]
    """Numbers of nodes of those that it has got."""


@pytest.fixture
def compiling() -> Iterator[Compiling]:
    sizes: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        sizes.append(len(graph.graph.nodes))
        return graph.forward

    settings = CompileConfig(backend=backend, mode=None)  # type: ignore[arg-type]
    settings._compile_all_devices = True
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.compile's own
        yield Compiling({"cache_implementation": "static", "compile_config": settings}, backend, sizes)


@pytest.mark.parametrize(
    "family", [name if name in COMPILED else pytest.param(name, marks=pytest.mark.slow) for name in TINY]
)
@torch.no_grad()
def test_decoding_is_compiled_as_one_graph(family: str, compiling: Compiling) -> None:
    """Or two where layers have a window; prompts of another length take one or two more."""
    model, counts = tiny_model(family), []
    with apply(model, PLAN) as run:
        for seed in range(2):
            prompt = tiny_batch(family, [{"after": 4 + seed}, {"before": 9 + 2 * seed, "images": 2}])
            tokens, logits = answered(model, prompt)
            cost = run.cost
            found, found_logits = answered(model, prompt, **compiling.options)
            assert torch.equal(found, tokens) and run.cost == cost
            torch.testing.assert_close(found_logits, logits, atol=1e-5, rtol=1e-5)
            counts.append(len(compiling.graphs))
    assert 1 <= counts[0] <= 2 and counts[1] <= counts[0] + 2
    assert not torch._dynamo.utils.counters["graph_break"]


@torch.no_grad()
def test_what_is_compiled_without_a_plan_is_not_used_under_it(compiling: Compiling) -> None:
    model, prompt = tiny_model("qwen2_5_vl"), tiny_prompt("qwen2_5_vl")
    full = answered(model, prompt)
    with apply(model, PLAN):
        pruned = answered(model, prompt)
    for under_plan in (False, True, False, True):
        with apply(model, PLAN) if under_plan else nullcontext():
            tokens, logits = answered(model, prompt, **compiling.options)
        expected, expected_logits = pruned if under_plan else full
        assert torch.equal(tokens, expected)
        torch.testing.assert_close(logits, expected_logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "plan",
    [
        Plan([Keep(layer=1, keep_ratio=0.5, positions="renumbered")]),
        Plan([Keep(layer=2, keep_ratio=0.5, selector="transprune")]),
    ],
    ids=["positions", "sublayers"],
)
@torch.no_grad()
def test_plans_that_cannot_be_compiled_are_right(plan: Plan, compiling: Compiling) -> None:
    check_same(tiny_model("llava"), tiny_prompt("llava"), plan, **compiling.options)
    assert not compiling.graphs


@pytest.mark.slow
@torch.no_grad()
def test_compiled_layers_decode_from_a_static_cache(monkeypatch: pytest.MonkeyPatch, compiling: Compiling) -> None:
    model, plain = tiny_model("llava"), tiny_model("llava")
    for layer in model.model.language_model.layers:
        monkeypatch.setattr(layer, "forward", torch.compile(layer.forward, backend=compiling.backend))
    with apply(model, PLAN), apply(plain, PLAN):
        for seed in range(2):
            prompt = tiny_prompt("llava", seed=seed, after=6 + seed)
            cache, expected = static(model), plain(**prompt, use_cache=True).past_key_values
            model(**prompt, past_key_values=cache)
            for number in range(3):
                tokens = torch.tensor([[5 + number]])
                wanted = plain(input_ids=tokens, past_key_values=expected).logits
                torch.testing.assert_close(model(input_ids=tokens, past_key_values=cache).logits, wanted)
    assert compiling.graphs
