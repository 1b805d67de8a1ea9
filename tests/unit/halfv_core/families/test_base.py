"""Families: described by hand, and models that none of them fits."""

import pytest
import torch
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from halfv_core import Family, Freeze, Keep, Plan, apply
from halfv_core.errors import ModelError
from halfv_core.families import FAMILIES
from halfv_core.families.unsupported import UNSUPPORTED
from tests.tiny import tiny_model, tiny_prompt

PLAN = Plan((Keep(layer=2, keep_ratio=0.5), Freeze(layers=[4])))


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


def test_reasons_are_given_for_types_that_exist_and_are_not_registered() -> None:
    assert not set(UNSUPPORTED) & set(FAMILIES)
    assert set(UNSUPPORTED) <= set(CONFIG_MAPPING_NAMES)
