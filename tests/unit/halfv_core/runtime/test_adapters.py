"""A model with PEFT adapters runs under a plan as the plain model with the merged weights."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from halfv_core import Freeze, Keep, Plan, apply
from halfv_core.errors import UnsupportedError
from halfv_core.families import parts_of
from halfv_core.models import load_model
from halfv_core.placement import offloaded_share
from probe.analyzers.layer_redundancy import layer_redundancy
from probe.calibration.identity import weights_fingerprint
from probe.capture.hidden_states import capture
from probe.capture.in_float32 import decoder_in_float32
from tests.checkpoints import save_checkpoint
from tests.tiny import tiny_batch, tiny_model, tiny_prompt

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore")  # peft and transformers deprecate parts of each other

LINEAR = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
BY_ATTENTION = Plan((Keep(layer=2, keep_ratio=0.5, selector="attention"), Freeze(layers=(3, 4))))
BY_COVERAGE = Plan((Keep(layer=3, keep_ratio=0.5, options={"anchor_share": 0.5}),))


def lora(**options: Any) -> Any:
    return peft.LoraConfig(target_modules=LINEAR, r=4, lora_alpha=8, **options)


def ia3() -> Any:
    feedforward = r".*language_model.*\.down_proj"
    return peft.IA3Config(
        target_modules=r".*language_model.*\.(k_proj|v_proj|down_proj)", feedforward_modules=feedforward
    )


def trained(model: Any, seed: int = 1) -> Any:
    """The model with random adapter weights: new ones would change nothing."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_" in name or "ia3" in name:
            weight.data = float("ia3" in name) + 0.3 * torch.randn(weight.shape, generator=generator)
    return model.eval()


def adapted(config: Any, family: str = "qwen2_5_vl") -> Any:
    return trained(peft.get_peft_model(tiny_model(family), config))


def injected() -> PreTrainedModel:
    """With the adapter added by transformers itself."""
    model = tiny_model("qwen2_5_vl")
    model.add_adapter(lora())
    return trained(model)  # type: ignore[no-any-return]


def merged() -> Any:
    model = adapted(lora())
    model.merge_adapter()
    return model


ADAPTED: dict[str, Callable[[], Any]] = {
    "lora": lambda: adapted(lora()),
    "lora for causal LMs": lambda: adapted(lora(task_type="CAUSAL_LM")),
    "dora": lambda: adapted(lora(use_dora=True)),
    "ia3": lambda: adapted(ia3()),
    "merged": merged,
}


def answered(model: Any, plan: Plan, prompt: dict[str, Any] | None = None) -> tuple[torch.Tensor, list[list[int]]]:
    with apply(model, plan) as run:
        out = model.generate(
            **(prompt or tiny_prompt("qwen2_5_vl")), max_new_tokens=4, output_logits=True, return_dict_in_generate=True
        )
        kept = [rows[0].tolist() for rows in run.kept.values()]
    return torch.cat(out.logits), kept


@pytest.mark.parametrize("plan", [BY_ATTENTION, BY_COVERAGE], ids=str)
@pytest.mark.parametrize("how", ADAPTED)
def test_an_adapted_model_runs_as_one_with_merged_weights(how: str, plan: Plan) -> None:
    logits, kept = answered(ADAPTED[how]().merge_and_unload(), plan)
    found, found_kept = answered(ADAPTED[how](), plan)
    assert found_kept == kept
    torch.testing.assert_close(found, logits, atol=2e-5, rtol=1e-5)
    assert not torch.allclose(logits, answered(tiny_model("qwen2_5_vl"), plan)[0], atol=0.1)


def test_an_adapter_added_by_transformers_is_the_same() -> None:
    for plan in (BY_ATTENTION, BY_COVERAGE):
        found, expected = answered(injected(), plan), answered(adapted(lora()), plan)
        assert torch.equal(found[0], expected[0]) and found[1] == expected[1]


@pytest.mark.parametrize("inside", [False, True])
def test_a_disabled_adapter_has_no_part_in_it(inside: bool) -> None:
    model, prompt = adapted(lora()), tiny_prompt("qwen2_5_vl")
    with torch.no_grad(), apply(tiny_model("qwen2_5_vl"), BY_ATTENTION) as run:
        expected = run._model(**prompt).logits
    with torch.no_grad(), nullcontext() if inside else model.disable_adapter(), apply(model, BY_ATTENTION):
        with model.disable_adapter() if inside else nullcontext():
            found = model(**prompt).logits
    assert torch.equal(found[0, -1], expected[0, -1])


def test_what_is_measured_is_the_adapted_model() -> None:
    model, plain, prompt = adapted(lora()), adapted(lora()).merge_and_unload(), tiny_prompt("qwen2_5_vl")
    torch.testing.assert_close(capture(model, prompt).hidden, capture(plain, prompt).hidden, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(layer_redundancy(model, prompt), layer_redundancy(plain, prompt), atol=1e-5, rtol=1e-4)
    fingerprint = weights_fingerprint(model)
    assert fingerprint == weights_fingerprint(injected())
    assert fingerprint != weights_fingerprint(trained(injected(), seed=2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("config", [lambda: lora(use_dora=True), ia3])
def test_adapted_keys_keep_their_digits_in_half_precision(config: Callable[[], Any], dtype: torch.dtype) -> None:
    """With large biases, keys that are made in 16 bits and then compared lose what tells them apart."""
    prompt = tiny_prompt("qwen2_5_vl")
    prompt["pixel_values"] = prompt["pixel_values"].to(dtype)
    plan = Plan((Keep(layer=2, keep_ratio=0.5, options={"anchor_share": 1.0}),))
    for seed in range(3):
        base = tiny_model("qwen2_5_vl", seed)
        for layer in parts_of(base).layers:
            layer.self_attn.k_proj.bias.data.mul_(500.0)
        model = trained(peft.get_peft_model(base, config())).to(dtype)
        kept = []
        for context in (nullcontext(), decoder_in_float32(model)):
            with torch.no_grad(), context, apply(model, plan) as run:
                model(**prompt)
                kept.append(set(run.kept[2][0].tolist()))
        assert kept[0] == kept[1]


def test_rows_with_adapters_of_their_own_are_right_or_refused() -> None:
    model = adapted(lora())
    model.add_adapter("two", lora())
    trained(model, seed=7)
    names, batch = ["default", "two"], tiny_batch("qwen2_5_vl", [{}, {}])
    plan = Plan((Keep(layer=2, keep_ratio=0.5, selector="uniform"), Freeze(layers=(3, 4))))
    alone = []
    for seed, name in enumerate(names):
        model.set_adapter(name)
        with torch.no_grad(), apply(model, plan):
            alone.append(model(**tiny_prompt("qwen2_5_vl", seed=seed)).logits[:, -1])
    with torch.no_grad(), apply(model, plan):
        together = model(**batch, adapter_names=names).logits[:, -1]
    torch.testing.assert_close(together, torch.cat(alone), atol=2e-5, rtol=1e-5)
    with (
        pytest.raises(UnsupportedError, match="rows have different adapters; got adapter_names= for 2 rows; pass the"),
        torch.no_grad(),
        apply(model, BY_ATTENTION),
    ):
        model(**batch, adapter_names=names)


@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PrefixTuningConfig"])
def test_an_adapter_that_learns_a_prompt_is_refused(kind: str) -> None:
    config = getattr(peft, kind)(
        num_virtual_tokens=3, task_type="CAUSAL_LM", num_layers=5, token_dim=32, num_attention_heads=4
    )
    model = peft.get_peft_model(tiny_model("qwen2_5_vl"), config)
    with pytest.raises(UnsupportedError, match="an adapter that learns a prompt adds tokens that have no id"):
        parts_of(model)


@pytest.mark.parametrize("room", [0.7, 0.0])
def test_an_adapter_of_a_model_that_does_not_fit_is_loaded(room: float, tmp_path: Path) -> None:
    """transformers puts its weights on the meta device like those of the layer, where they are lost."""
    base = save_checkpoint("qwen2_5_vl", tmp_path / "base")
    model = trained(peft.get_peft_model(load_model(str(base)).model, lora()))
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(tmp_path / "adapter")
    size = (base / "model.safetensors").stat().st_size
    offloaded = load_model(str(tmp_path / "adapter"), max_memory={"cpu": int(room * size)}).model
    assert offloaded_share(offloaded) > 0.2
    found, expected = answered(offloaded, BY_ATTENTION), answered(model, BY_ATTENTION)
    torch.testing.assert_close(found[0], expected[0], atol=1e-5, rtol=1e-5)  # weights lie elsewhere in memory
    assert found[1] == expected[1]
