"""A model whose weights are not exactly the checkpoint's is refused, and the message names some of them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from halfv_core import HalfVError
from halfv_core.checkpoint_weights import check_weights
from halfv_core.models import bundled_models, load_model
from tests.checkpoints import READABLE, save_checkpoint

Weights = dict[str, torch.Tensor]


def rewritten(folder: Path, change: Callable[[Weights], Weights]) -> Path:
    """The checkpoint folder with changed weights."""
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(HalfVError) as caught:
        load_model(str(folder), device="cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("family", ["gemma3", "llava_next", "qwen3_vl"])
def test_weights_under_other_names_are_refused(family: str, tmp_path: Path) -> None:
    folder = save_checkpoint(family, tmp_path / "checkpoint")
    rewritten(folder, lambda weights: {f"student.{name}": weight for name, weight in weights.items()})
    said = refusal(folder)
    assert "missing (lm_head.weight, model." in said
    assert "unexpected (student." in said and "ForConditionalGeneration" in said


def test_one_missing_weight_is_named(tmp_path: Path) -> None:
    folder = save_checkpoint("idefics3", tmp_path / "checkpoint")

    def without_a_norm(weights: Weights) -> Weights:
        return {name: weight for name, weight in weights.items() if not name.endswith("text_model.norm.weight")}

    assert "got 1 missing (model.text_model.norm.weight); expected" in refusal(rewritten(folder, without_a_norm))


def test_a_checkpoint_deeper_than_its_config_is_refused(tmp_path: Path) -> None:
    """Everything that the config asks for is there, and still another model than the checkpoint's would run."""
    folder = save_checkpoint("qwen2_vl", tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 4
    config["text_config"].pop("layer_types", None)
    (folder / "config.json").write_text(json.dumps(config))
    said = refusal(folder)
    assert "unexpected (model.language_model.layers.4." in said and "missing" not in said


def test_weights_of_another_shape_are_named_with_both_shapes(tmp_path: Path) -> None:
    folder = save_checkpoint("llava", tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["intermediate_size"] = 56
    (folder / "config.json").write_text(json.dumps(config))
    assert ".mlp.down_proj.weight (32, 48) for (32, 56), " in refusal(folder)


@pytest.mark.parametrize("damage", ["gone", "cut", "emptied", "pointer"])
def test_a_checkpoint_with_a_bad_shard_is_refused(damage: str, tmp_path: Path) -> None:
    folder = save_checkpoint("llava", tmp_path / "checkpoint")
    AutoModelForImageTextToText.from_pretrained(folder).save_pretrained(folder, max_shard_size="40KB")
    (folder / "model.safetensors").unlink()
    load_model(str(folder), device="cpu")  # whole, it loads
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    if damage == "gone":
        shard.unlink()
    elif damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-400])
    elif damage == "emptied":
        save_file({}, shard, metadata={"format": "pt"})
    else:
        shard.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 40000\n")
    assert "checkpoint" in refusal(folder)


def test_the_wrong_architecture_is_refused(tmp_path: Path) -> None:
    folder = save_checkpoint("qwen2_vl", tmp_path / "checkpoint")
    other = save_checkpoint("qwen2_5_vl", tmp_path / "other")
    (folder / "config.json").write_bytes((other / "config.json").read_bytes())
    assert "expected exactly the weights of Qwen2_5_VLForConditionalGeneration" in refusal(folder)


@pytest.mark.parametrize("family", READABLE)
def test_tied_weights_are_not_missing(family: str, tmp_path: Path) -> None:
    folder = save_checkpoint(family, tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = True
    (folder / "config.json").write_text(json.dumps(config))
    rewritten(folder, lambda weights: {name: weight for name, weight in weights.items() if "lm_head" not in name})
    model = load_model(str(folder), device="cpu").model
    assert torch.equal(model.get_input_embeddings().weight, model.get_output_embeddings().weight)


def test_buffers_of_older_versions_are_not_unexpected(tmp_path: Path) -> None:
    folder = save_checkpoint("llava", tmp_path / "checkpoint")
    old = {"language_model.model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    load_model(str(rewritten(folder, lambda weights: weights | old)), device="cpu")


def test_a_checkpoint_with_code_of_its_own_is_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    folder = save_checkpoint("llava", tmp_path / "checkpoint")
    (folder / "own.py").write_text(
        "from transformers import LlavaConfig, LlavaForConditionalGeneration\n"
        "class OwnConfig(LlavaConfig):\n    model_type = 'own'\n"
        "class OwnModel(LlavaForConditionalGeneration):\n    config_class = OwnConfig\n"
    )
    config = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "own.OwnConfig", "AutoModelForImageTextToText": "own.OwnModel"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": classes}))
    assert refusal(folder).endswith("is not run unasked; read that code, then add --trust-remote-code")
    # The name that it has in memory: LLaVA's renaming is looked up by model_type, and is not that of `own`.
    rewritten(folder, lambda weights: {name.replace("language_model.lm_", "lm_"): weights[name] for name in weights})
    assert type(load_model(str(folder), device="cpu", trust_remote_code=True).model).__name__ == "OwnModel"
    rewritten(folder, lambda weights: {f"own.{name}": weight for name, weight in weights.items()})
    with pytest.raises(HalfVError, match="expected exactly the weights of OwnModel"):
        load_model(str(folder), device="cpu", trust_remote_code=True)


def test_bundled_models_are_whole() -> None:
    for name in bundled_models():
        load_model(name, device="cpu")


def test_at_most_three_names_of_a_kind_are_shown() -> None:
    info = {"missing_keys": {"d", "c", "b", "a"}, "unexpected_keys": set(), "mismatched_keys": set()}
    with pytest.raises(HalfVError, match=r"got 4 missing \(a, b, c, \.\.\.\); expected"):
        check_weights("checkpoint", "Model", info)


def test_an_adapter_without_peft_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers alone would pass over the adapter and run the base model without it."""
    monkeypatch.setattr("halfv_core.adapters.is_peft_available", lambda: False)
    folder = save_checkpoint("llava", tmp_path / "checkpoint")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "tiny-llava"}))
    assert refusal(folder).endswith("is a PEFT adapter, and peft is not installed; pip install peft")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{}", "does not say which model it is for"),
        ("[]", "adapter_config.json"),
        ("{", "adapter_config.json"),
        ('{"base_model_name_or_path": "gone"}', "no model 'gone'"),
    ],
)
def test_an_adapter_that_names_no_model_is_refused(
    config: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("halfv_core.adapters.is_peft_available", lambda: True)
    (tmp_path / "adapter_config.json").write_text(config)
    assert said in refusal(tmp_path)


def test_a_model_with_an_adapter_beside_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("halfv_core.adapters.is_peft_available", lambda: True)
    folder = save_checkpoint("llava", tmp_path / "checkpoint")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "tiny-llava"}))
    assert "holds a model and an adapter" in refusal(folder)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft's own
def test_a_loaded_adapter_is_checked_too(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = save_checkpoint("llava", tmp_path / "base")
    model = AutoModelForImageTextToText.from_pretrained(base)
    config = peft.LoraConfig(target_modules=["q_proj", "v_proj"], r=2, init_lora_weights=False)
    adapted = peft.get_peft_model(model, config).eval()
    folder = tmp_path / "adapter"
    adapted.save_pretrained(folder)
    loaded = load_model(str(folder), device="cpu")
    inputs = loaded.processor.prompt([], "w8 w9")
    assert torch.equal(loaded.model(**inputs).logits, adapted(**inputs).logits)
    assert not torch.equal(loaded.model(**inputs).logits, load_model(str(base), device="cpu").model(**inputs).logits)
    file = folder / "adapter_model.safetensors"
    save_file({name.replace("layers.1.", "layers.9."): weight for name, weight in load_file(file).items()}, file)
    assert "missing (model.language_model.layers.1." in refusal(folder)
