"""The KL curve of decoders that are not known: by layers called for some tokens, as by whole runs under a Freeze."""

from pathlib import Path

import pytest
import torch

from halfv_core import Freeze, Plan, apply
from halfv_core.errors import UnsupportedError
from halfv_core.families import admission, parts_of
from probe import layer_redundancy
from tests.any_model import any_model, any_prompt


@pytest.fixture(autouse=True)
def forgetful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is admitted here is not remembered."""
    monkeypatch.setattr(admission, "_admitted", set())
    monkeypatch.setattr(admission, "_file", lambda: tmp_path / "proven.json")


@pytest.mark.parametrize("name", ["cohere2_vision", "gemma4", "kimi_k25", "lfm2_vl", "qwen3_5"])
@torch.no_grad()
def test_the_kl_curve_is_that_of_whole_runs(name: str) -> None:
    model, inputs = any_model(name), any_prompt(name)
    parts = parts_of(model)
    admission.admit(parts.pair)
    full = model(**inputs).logits[0, -1].double().log_softmax(-1)
    whole = []
    for layer in range(len(parts.layers)):
        with apply(model, Plan((Freeze(layers=[layer]),))):
            frozen = model(**inputs).logits[0, -1].double().log_softmax(-1)
        whole.append((full.exp() * (full - frozen)).sum())
    torch.testing.assert_close(layer_redundancy(model, inputs), torch.stack(whole), atol=1e-6, rtol=1e-3)
    assert whole[0] > 1e-4


def test_logits_that_are_scaled_behind_the_head_are_not_taken_for_others() -> None:
    with pytest.raises(UnsupportedError, match="scales or caps its logits"):
        layer_redundancy(any_model("muse_glimmer"), any_prompt("muse_glimmer"))
