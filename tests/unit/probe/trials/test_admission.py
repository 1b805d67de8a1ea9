"""Models of classes that nobody registered are understood by their structure, and used once the identities hold.

Models that lie about what they do are refused by the name of the identity that fails.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlavaConfig, LlavaForConditionalGeneration, PreTrainedModel

from halfv_core import Freeze, Keep, Plan, apply
from halfv_core.errors import ModelError, UnsupportedError
from halfv_core.families import FAMILIES, admission, family_of, parts_of
from halfv_core.runtime.patching import wrapped
from probe.capture.grids import GridRecorder
from probe.capture.hidden_states import capture
from probe.trials.proofs import admit
from tests.profiles import qwen_like
from tests.tiny import IMAGE, tiny_model, tiny_prompt
from tests.unit.probe.trials.test_proofs import OnePrompt

PLAN = Plan((Keep(layer=2, keep_ratio=0.5), Freeze(layers=[4])))
PROMPT: Any = OnePrompt(tiny_prompt("llava"))


class InventedConfig(LlavaConfig):
    model_type = "invented_vl"


class InventedForConditionalGeneration(LlavaForConditionalGeneration):
    """A class that no list names."""

    config_class = InventedConfig


@pytest.fixture(autouse=True)
def forgetful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is admitted at first, and what is goes to a file of the test."""
    monkeypatch.setattr(admission, "_admitted", set())
    monkeypatch.setattr(admission, "_file", lambda: tmp_path / "proven.json")
    yield


def invented(decoder: str | None = None) -> PreTrainedModel:
    """A tiny LLaVA of the invented class."""
    model = tiny_model("llava", decoder=decoder)
    model.__class__ = InventedForConditionalGeneration
    model.config.__class__ = InventedConfig
    return model


def refused(model: PreTrainedModel) -> str:
    with pytest.raises(UnsupportedError) as raised:
        admit(model, PROMPT)
    assert not admission.is_admitted(parts_of(model).pair)
    with pytest.raises(UnsupportedError, match="nothing is proven"), apply(model, PLAN):  # nor on trial any longer
        pass
    return str(raised.value)


def test_an_invented_class_is_admitted_by_structure(tmp_path: Path) -> None:
    model = invented()
    assert model.config.model_type == "invented_vl" and "invented_vl" not in FAMILIES
    family = family_of(model)
    assert (family.core, family.decoder, family.decoders) == ("model", "model.language_model", ("llama",))
    with pytest.raises(UnsupportedError, match="nothing is proven of it yet; prove it"), apply(model, PLAN):
        pass
    checks = admit(model, PROMPT)
    assert len(checks) == 10 and all(check.passed for check in checks)
    with torch.no_grad(), apply(model, PLAN) as run:
        invented_logits = model(**tiny_prompt("llava")).logits
    assert len(run.kept[2][0]) == 8 and run.cost.flops_ratio > 1
    known = tiny_model("llava")
    with torch.no_grad(), apply(known, PLAN):
        assert torch.equal(known(**tiny_prompt("llava")).logits, invented_logits)
    assert admit(model, PROMPT) == ()  # once is enough
    ((name, decoder, _),) = json.loads((tmp_path / "proven.json").read_text())
    assert (name, decoder) == ("InventedForConditionalGeneration", "LlamaModel")


def test_it_is_remembered_by_other_processes_and_by_profiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = invented()
    admit(model, PROMPT)
    monkeypatch.setattr(admission, "_admitted", set())
    with apply(model, PLAN):
        pass
    (tmp_path / "proven.json").write_text("not ours")
    profile = qwen_like()
    found = profile.provenance.model_copy(update={"config_fingerprint": _fingerprint(model)})
    unknown = profile.model_copy(update={"provenance": found, "plan": PLAN})
    with pytest.raises(UnsupportedError, match="nothing is proven"), apply(model, unknown):
        pass
    proven = found.model_copy(update={"admitted": str(parts_of(model).pair)})
    with apply(model, unknown.model_copy(update={"provenance": proven})):
        pass
    of_another_version = found.model_copy(update={"admitted": str(parts_of(model).pair._replace(transformers="5.0"))})
    with pytest.raises(UnsupportedError), apply(model, unknown.model_copy(update={"provenance": of_another_version})):
        pass


def _fingerprint(model: PreTrainedModel) -> str:
    from halfv_core.profile import config_fingerprint

    return config_fingerprint(model.config)


@pytest.mark.parametrize("decoder", ["mistral", "gemma3_text"])
def test_a_known_family_with_another_decoder_is_admitted_by_proof(decoder: str) -> None:
    model = tiny_model("llava", decoder=decoder)
    assert not parts_of(model).is_tested and parts_of(tiny_model("llava")).is_tested
    with pytest.raises(UnsupportedError, match=re.escape("LlavaForConditionalGeneration with ")), apply(model, PLAN):
        pass
    assert all(check.passed for check in admit(model, PROMPT))
    grids = GridRecorder(model, tiny_prompt("llava")["input_ids"])
    with apply(model, PLAN):
        pass
    with wrapped(grids.wraps(), plan=False):
        assert capture(model, tiny_prompt("llava")).hidden.shape[0] == len(parts_of(model).layers) + 1


def test_a_layer_that_ignores_its_mask_is_caught() -> None:
    model = invented()
    layer = model.model.language_model.layers[3]
    forward = layer.forward

    def sees_everything(hidden: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return forward(hidden, **kwargs | {"attention_mask": torch.zeros(1, 1, hidden.shape[1], hidden.shape[1])})

    layer.forward = sees_everything
    assert "does not hold: pruning equals masking" in refused(model)


def test_a_decoder_that_reorders_tokens_is_caught() -> None:
    model = invented()
    layer = model.model.language_model.layers[0]
    forward = layer.forward
    layer.forward = lambda hidden, **kwargs: forward(hidden, **kwargs).flip(1)
    assert "does not hold: " in refused(model)


def test_a_layer_with_another_attention_than_its_projections_say_is_caught() -> None:
    """Frozen tokens' keys and values are made by these projections."""
    model = invented()

    class Scaled(nn.Module):
        def forward(self, keys: torch.Tensor) -> torch.Tensor:
            return keys * 0.5

    attention = model.model.language_model.layers[4].self_attn
    attention.value_scale = Scaled()
    forward = attention.forward

    def scaled(hidden_states: torch.Tensor, **kwargs: Any) -> Any:
        project = attention.v_proj.forward
        attention.v_proj.forward = lambda states: attention.value_scale(project(states))
        try:
            return forward(hidden_states, **kwargs)
        finally:
            attention.v_proj.forward = project

    attention.forward = scaled
    assert "does not hold: freezing equals restoring" in refused(model)


def test_a_layer_that_remembers_is_caught() -> None:
    """Its output depends on how many tokens it saw."""
    model = invented()
    layer = model.model.language_model.layers[3]
    forward = layer.forward
    layer.forward = lambda hidden, **kwargs: forward(hidden, **kwargs) + 0.01 * hidden.shape[1]
    assert "does not hold: " in refused(model)


def test_a_model_that_fails_is_refused_by_the_identity() -> None:
    model = invented()
    layer = model.model.language_model.layers[4]
    forward = layer.forward

    def whole_prompts_only(hidden: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        if 1 < hidden.shape[1] < PROMPT.inputs["input_ids"].shape[1]:
            raise RuntimeError("a prompt of another length")
        return forward(hidden, **kwargs)

    layer.forward = whole_prompts_only
    assert "a prompt of another length" in refused(model)


def test_what_is_missing_is_named() -> None:
    model = invented()
    del model.model.language_model.layers[2].self_attn.k_proj
    with pytest.raises(ModelError, match=re.escape("no model.language_model.layers[2].self_attn.k_proj")):
        parts_of(model)
    without_norm = invented()
    del without_norm.model.language_model.norm
    with pytest.raises(ModelError, match="decoder cannot be found; got no such module"):
        parts_of(without_norm)
    without_ids = invented()
    without_ids.config = type(
        "Config", (), {"get_text_config": without_ids.config.get_text_config, "model_type": "x"}
    )()
    with pytest.raises(ModelError, match="names no visual token"):
        parts_of(without_ids)


def test_a_folder_that_cannot_be_written_costs_only_another_proof(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(admission, "_file", lambda: tmp_path / "file" / "proven.json")
    model = invented()
    assert admit(model, PROMPT)
    assert admission.is_admitted(parts_of(model).pair)


def test_visual_tokens_are_those_of_the_config() -> None:
    assert parts_of(invented()).visual_ids == (IMAGE,)
