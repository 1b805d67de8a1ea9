"""Real quantised checkpoints, where the packages are installed; see `make test-quantised`.

What does not need the packages is in tests/unit/halfv_core/runtime/test_kinds_of_layers.py.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, PreTrainedModel
from typer.testing import CliRunner

from cli.main import app
from halfv_core import HalfVError
from halfv_core.models import bundled_models, load_model
from halfv_core.processors import load_processor
from probe import calibrate, load_samples
from probe.calibration.calibrate import Settings
from probe.calibration.identity import weights_fingerprint
from probe.capture.hidden_states import capture
from probe.trials.proofs import prove

NAME = "tiny-qwen2.5-vl"


def int8() -> Any:
    pytest.importorskip("bitsandbytes")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_8bit=True)


def nf4() -> Any:
    pytest.importorskip("bitsandbytes")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype="float32"
    )


def quanto() -> Any:
    pytest.importorskip("optimum.quanto")
    from transformers import QuantoConfig

    return QuantoConfig(weights="int8")


def torchao(name: str) -> Callable[[], Any]:
    def make() -> Any:
        quantization = pytest.importorskip("torchao.quantization")
        from transformers import TorchAoConfig

        return TorchAoConfig(getattr(quantization, name)())

    return make


KINDS: dict[str, Callable[[], Any]] = {
    "bitsandbytes int8": int8,
    "bitsandbytes nf4": nf4,
    "quanto int8": quanto,
    "torchao float8": torchao("Float8WeightOnlyConfig"),
    "torchao int8": torchao("Int8WeightOnlyConfig"),
    "torchao int8, activations too": torchao("Int8DynamicActivationInt8WeightConfig"),
}


def quantised(kind: str) -> PreTrainedModel:
    dtype = torch.bfloat16 if "float8" in kind else torch.float32
    place, config = bundled_models()[NAME], KINDS[kind]()
    return AutoModelForImageTextToText.from_pretrained(place, quantization_config=config, dtype=dtype).eval()  # type: ignore


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantised_model_is_proved_and_calibrated(kind: str) -> None:
    model, processor = quantised(kind), load_processor(str(bundled_models()[NAME]), False, True)
    checks = {check.name: check for check in prove(model, processor)}
    assert all(check.passed for check in checks.values()), checks
    matrices = int(checks["weights are numbers, not only zeros"].found.split()[0])
    assert matrices > 80  # those of all layers, not of the embeddings alone
    settings = Settings(samples=3, held_out=0.34, max_new_tokens=2)
    profile = calibrate(model, processor, load_samples("scenes"), settings)
    assert profile.checks and all(check.passed for check in profile.checks), profile.checks


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_told_apart(kind: str, tmp_path: Path) -> None:
    model = quantised(kind)
    before = weights_fingerprint(model)
    assert weights_fingerprint(quantised(kind)) == before
    if "quanto" not in kind:  # which transformers does not save
        model.save_pretrained(tmp_path)
        for file in bundled_models()[NAME].iterdir():
            if not (tmp_path / file.name).exists() and file.suffix != ".safetensors":
                shutil.copy(file, tmp_path)
        assert weights_fingerprint(load_model(str(tmp_path), device="cpu").model) == before
    with torch.no_grad():
        layer: Any = model.get_submodule("model.language_model.layers.7.mlp")
        layer.up_proj, layer.gate_proj = layer.gate_proj, layer.up_proj
    assert weights_fingerprint(model) != before


PACKED = {"4bit": "float32, weights by bitsandbytes nf4", "8bit": "float32, weights by bitsandbytes int8"}


@pytest.mark.parametrize("load_in", PACKED)
def test_a_model_is_quantised_while_it_is_loaded(load_in: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    model, processor, _ = load_model(NAME, load_in=load_in)
    sample = load_samples("scenes")[0]
    inputs = processor.prompt(sample.open_images(), sample.prompt)
    with torch.no_grad():
        own = model(**inputs, output_hidden_states=True, use_cache=False).hidden_states
    hidden = capture(model, inputs, normed=False).hidden
    assert torch.equal(hidden[:-1], torch.cat(own[:-1]))
    plain = load_model(NAME).model
    assert model.get_memory_footprint() < 0.6 * plain.get_memory_footprint()
    model.save_pretrained(tmp_path)
    with pytest.raises(HalfVError, match="is quantised already; got weights by bitsandbytes"):
        load_model(str(tmp_path), load_in=load_in)


@pytest.mark.parametrize("load_in", PACKED)
def test_commands_quantise_and_their_records_say_so(load_in: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    arguments = ["--model", NAME, "--load-in", load_in, "--json"]
    few = ["--samples", "3", "--kl-samples", "1", "--examples", "0", "--certify", "0", "--max-new-tokens", "2"]
    few += ["--method", "vtw", "--target-flops", "1.5", "--output", str(tmp_path / "profile.json")]
    for command, more in (("doctor", []), ("calibrate", few)):
        result = CliRunner().invoke(app, [command, *arguments, *more], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        said = json.loads(result.stdout)
        record = said["model"] if command == "doctor" else said["provenance"]
        assert record["dtype"] == PACKED[load_in]
        assert "will be cast" not in result.stderr  # of bitsandbytes, at each layer


def test_an_adapter_is_added_to_a_quantised_model(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    pytest.importorskip("bitsandbytes")
    model = load_model(NAME).model
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj", "up_proj"], init_lora_weights=False))
    adapted.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": NAME}))
    loaded, processor, _ = load_model(str(tmp_path), load_in="4bit")
    assert all(check.passed for check in prove(loaded, processor))


def test_what_does_not_fit_is_not_brought_from_elsewhere() -> None:
    pytest.importorskip("bitsandbytes")
    with pytest.raises(HalfVError, match="does not fit on the devices that run it"):
        load_model(NAME, load_in="4bit", max_memory={"cpu": "1MB"})
