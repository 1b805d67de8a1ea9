"""What the plugin for vLLM refuses at the start, from the settings alone; tests/vllm starts real engines."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from halfv_core.errors import HalfVError, PlanError, ProfileError, UnsupportedError
from halfv_core.interventions import Freeze, Hide, Keep, Selection, When
from halfv_core.plan import Plan
from halfv_core.profile import Profile
from halfv_core.serving.vllm.settings import (
    check_backend,
    check_engine,
    check_plan,
    check_version,
    profile_path,
    served_plan,
)

PROFILES = Path(__file__).parents[5] / "data_samples" / "profiles"


def engine(**changed: object) -> Any:
    """The settings of an engine that is not refused, which are what vLLM's own config has; `part__name` changes one."""
    config = SimpleNamespace(
        additional_config={},
        use_v2_model_runner=False,
        speculative_config=None,
        lora_config=None,
        kv_transfer_config=None,
        ec_transfer_config=None,
        cache_config=SimpleNamespace(cache_dtype="auto"),
        scheduler_config=SimpleNamespace(disable_hybrid_kv_cache_manager=False),
        parallel_config=SimpleNamespace(
            pipeline_parallel_size=1,
            decode_context_parallel_size=1,
            prefill_context_parallel_size=1,
            data_parallel_size=1,
            tensor_parallel_size=1,
            use_ubatching=False,
        ),
        model_config=SimpleNamespace(
            architecture="LlavaForConditionalGeneration",
            enforce_eager=True,
            quantization=None,
            enable_prompt_embeds=False,
            runner_type="generate",
            multimodal_config=SimpleNamespace(is_multimodal_pruning_enabled=lambda: False),
        ),
    )
    for path, value in changed.items():
        *parts, name = path.split("__")
        owner: Any = config
        for part in parts:
            owner = getattr(owner, part)
        setattr(owner, name, value)
    return config


def test_without_a_profile_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HALFV_PROFILE", raising=False)
    assert served_plan(engine(model_config__architecture="Other", model_config__enforce_eager=False), "9.9") is None


def test_the_option_wins_over_the_variable() -> None:
    environment = {"HALFV_PROFILE": "a.json"}
    assert profile_path({}, environment) == "a.json"
    assert profile_path({"halfv_profile": "b.json"}, environment) == "b.json"
    assert profile_path({}, {"HALFV_PROFILE": ""}) is None
    with pytest.raises(ProfileError, match="halfv_profile in --additional-config is the path of a profile; got 3"):
        profile_path({"halfv_profile": 3}, environment)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model_config__architecture": "Gemma3ForConditionalGeneration"}, "does not run this model"),
        ({"model_config__enforce_eager": False}, "--enforce-eager"),
        ({"use_v2_model_runner": True}, "VLLM_USE_V2_MODEL_RUNNER=0"),
        ({"speculative_config": object()}, "--speculative-config"),
        ({"lora_config": object()}, "--enable-lora"),
        ({"parallel_config__pipeline_parallel_size": 2}, "--pipeline-parallel-size 1"),
        ({"parallel_config__decode_context_parallel_size": 2}, "context parallelism"),
        ({"parallel_config__data_parallel_size": 2}, "one engine for each replica"),
        ({"parallel_config__use_ubatching": True}, "--enable-dbo"),
        ({"kv_transfer_config": object()}, "--kv-transfer-config"),
        ({"ec_transfer_config": object()}, "--ec-transfer-config"),
        ({"cache_config__cache_dtype": "fp8"}, "--kv-cache-dtype auto"),
        ({"scheduler_config__disable_hybrid_kv_cache_manager": True}, "no --disable-hybrid-kv-cache-manager"),
        ({"model_config__quantization": "awq"}, "not quantised"),
        ({"model_config__enable_prompt_embeds": True}, "--enable-prompt-embeds"),
        ({"model_config__runner_type": "pooling"}, "--runner generate"),
        (
            {"model_config__multimodal_config": SimpleNamespace(is_multimodal_pruning_enabled=lambda: True)},
            "--video-pruning-rate",
        ),
    ],
)
def test_what_a_plan_does_not_go_with(changed: dict[str, object], words: str) -> None:
    check_engine(engine())
    with pytest.raises(UnsupportedError, match=words) as refusal:
        check_engine(engine(**changed))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("check", "tried", "untried"), [(check_version, "0.32.0+cpu", "0.33.1"), (check_backend, "CPU_ATTN", "FLASH_ATTN")]
)
def test_versions_and_backends_that_were_not_tried(
    monkeypatch: pytest.MonkeyPatch, check: Callable[[str], None], tried: str, untried: str
) -> None:
    monkeypatch.delenv("HALFV_VLLM_UNTRIED", raising=False)
    check(tried)
    with pytest.raises(UnsupportedError, match=f"has not been tried.*{untried}.*HALFV_VLLM_UNTRIED=1"):
        check(untried)
    monkeypatch.setenv("HALFV_VLLM_UNTRIED", "1")
    check(untried)


@pytest.mark.parametrize(
    "item",
    [
        Freeze(layers=[2, 3]),
        Keep(layer=2, keep_ratio=0.5),
        Keep(layer=0, tokens=8, selector="uniform"),
        Keep(layer=2, keep_ratio=0.0),
        Keep(layer=1, keep_ratio=0.5, selector="v2drop"),
    ],
)
def test_plans_that_are_served(item: Keep | Freeze) -> None:
    check_plan(Plan((item,)), tensor_parallel=2)


@pytest.mark.parametrize(
    "item",
    [
        Freeze(layers=[2, 3], keep_ratio=0.5, selector="uniform"),
        Hide(layers=[2, 3]),
        When(rule="exhausted", from_layer=2, then=Selection(keep_ratio=0.5)),
        Keep(layer=2, keep_ratio=0.5, positions="renumbered"),
        Keep(layer=2, keep_ratio=0.5, cache="everywhere"),
        Keep(layer=2, keep_ratio=0.5, merge="visiondrop", selector="visiondrop"),
        Keep(layer=2, keep_ratio=0.5, selector="visionzip"),  # looks at the vision tower
        Keep(layer=2, keep_ratio=0.5, selector="transprune"),  # looks at sub-layers
        Keep(layer=2, keep_ratio=0.5, selector="holov"),  # looks at the grid
    ],
)
def test_plans_that_are_refused(item: Any) -> None:
    with pytest.raises(PlanError, match="vLLM does not run this part of the plan; got"):
        check_plan(Plan((item,)))


def test_selectors_that_look_at_single_heads_take_one_process() -> None:
    plan = Plan((Keep(layer=2, keep_ratio=0.5, selector="visiondrop"),))
    check_plan(plan)
    with pytest.raises(PlanError, match="not at single heads"):
        check_plan(plan, tensor_parallel=2)


@pytest.mark.parametrize("name", ["tiny-llava", "tiny-llava-next", "tiny-qwen2.5-vl"])
def test_the_shipped_profiles_are_served(name: str) -> None:
    check_plan(Profile.load(PROFILES / f"{name}.json").plan, tensor_parallel=2)


def test_a_profile_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFV_PROFILE", "absent.json")
    with pytest.raises(HalfVError, match="cannot read profile absent.json"):
        served_plan(engine(), "0.32.0")
