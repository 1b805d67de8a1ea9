"""What the plugin refuses, at the start and in one line, with vLLM's own configs."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from halfv_core import HalfVError, Hide, Plan
from tests.vllm.running import ENVIRONMENT, MODELS, ROOT, profile_of

PROFILE = MODELS.parent / "profiles" / "tiny-llava.json"
SETTINGS: dict[str, Any] = {"model": str(MODELS / "tiny-llava"), "enforce_eager": True, "max_model_len": 1024}

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HALFV_PROFILE", raising=False)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


def start(profile: Path | str | None = PROFILE, **settings: Any) -> Any:
    """vLLM's config, as an engine makes it before anything else."""
    from vllm.engine.arg_utils import EngineArgs

    named = {} if profile is None else {"halfv_profile": str(profile)}
    return EngineArgs(**SETTINGS | {"additional_config": named} | settings).create_engine_config()


def test_what_is_served_is_not_refused() -> None:
    assert start().model_config.enforce_eager
    assert start(None, enforce_eager=False)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"enforce_eager": False}, "compiled models and CUDA graphs; start vLLM with --enforce-eager"),
        ({"pipeline_parallel_size": 2, "distributed_executor_backend": "mp"}, "pipeline parallelism"),
        ({"kv_cache_dtype": "fp8"}, "a quantised KV cache"),
        ({"disable_hybrid_kv_cache_manager": True}, "one KV cache for all layers"),
        ({"enable_lora": True}, "LoRA adapters"),
        (
            {"speculative_config": {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_max": 2}},
            "speculative decoding",
        ),
        ({"model": str(MODELS / "tiny-qwen2.5-vl")}, "made for another model"),
        ({"profile": "absent.json"}, "cannot read profile absent.json"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(HalfVError, match=words) as refusal:
        start(**settings)
    assert "\n" not in str(refusal.value)


def test_a_plan_that_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(HalfVError, match="does not run this part of the plan; got layers 2-3: hide"):
        start(profile_of("tiny-llava", Plan((Hide(layers=[2, 3]),)), tmp_path))


def test_a_refusal_is_one_line_without_a_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"from vllm import LLM; LLM({str(MODELS / 'tiny-llava')!r}, max_model_len=1024)"],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT | {"HALFV_PROFILE": str(PROFILE)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: vLLM does not run a plan together with compiled models")
    assert "Traceback" not in done.stderr
