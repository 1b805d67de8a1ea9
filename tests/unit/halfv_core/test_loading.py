"""What is asked of the loading of a model: what goes to transformers, and what is refused before weights are read."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from halfv_core import HalfVError
from halfv_core.errors import ModelError
from halfv_core.loading import Loading
from halfv_core.models import load_model
from halfv_core.quantising import numbers_of, quantisation
from halfv_core.tensor_parallel import distributed_config
from tests.checkpoints import save_checkpoint
from tests.tiny import tiny_model

FREE = 10_000


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A machine with GPUs; which of them were asked for their memory."""
    asked: list[int] = []

    def free(index: int) -> tuple[int, int]:
        asked.append(index)
        return FREE, 2 * FREE

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "mem_get_info", free)
    return asked


@pytest.fixture
def bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the package were installed; what it does is tested in tests/unit/probe/test_quantised.py."""
    monkeypatch.setattr("halfv_core.quantising.is_bitsandbytes_available", lambda: True)


def arguments(loading: Loading, model: Callable[[], PreTrainedModel] = lambda: tiny_model("llava")) -> dict[str, Any]:
    loading.check()
    return loading.arguments("m", model)


def refusal(loading: Loading) -> str:
    with pytest.raises(ModelError) as refused:
        loading.check()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_replica_has_its_gpus_alone(four_gpus: list[int]) -> None:
    found = arguments(Loading(gpus=(3, 2)))
    assert found["device_map"] == "auto"
    assert list(found["max_memory"]) == [2, 3, "cpu"]
    assert found["max_memory"][2] == found["max_memory"][3] == FREE * 9 // 10
    assert set(four_gpus) == {2, 3}  # asking another one would take memory on it


def test_limits_of_other_gpus_do_not_matter_to_a_replica(four_gpus: list[int]) -> None:
    loading = Loading(gpus=(2, 3), device_map="balanced", max_memory={0: "1KB", 3: "2KB", "cpu": "3KB"})
    found = arguments(loading)
    assert found == {
        "dtype": "auto",
        "device_map": "balanced",
        "max_memory": {2: FREE * 9 // 10, 3: 2000, "cpu": 3000},
    }


@pytest.mark.parametrize("gpus", [(), (4,), (1, 1), (-1,)])
def test_gpus_that_there_are_not(gpus: tuple[int, ...], four_gpus: list[int]) -> None:
    assert "weights cannot be put on these GPUs" in refusal(Loading(gpus=gpus))


def test_a_machine_without_gpus_has_no_replica_on_them() -> None:
    if not torch.cuda.is_available():
        assert refusal(Loading(gpus=(0,))).endswith("got 0; expected a machine with GPUs")


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_a_named_device_has_all_weights(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the CPU of a machine with GPUs: without a map, transformers puts quantised weights on a GPU."""
    monkeypatch.setattr("halfv_core.devices.check_device", torch.device)
    assert arguments(Loading(device=device))["device_map"] == {"": torch.device(device)}


def test_a_machine_with_gpus_is_filled_and_one_without_needs_no_map(monkeypatch: pytest.MonkeyPatch) -> None:
    for available, found in ((True, "auto"), (False, None)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert arguments(Loading()) == {"dtype": "auto", "device_map": found}
        assert arguments(Loading(device_map="sequential"))["device_map"] == "sequential"


@pytest.mark.usefixtures("bitsandbytes", "four_gpus")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"device": "cpu", "device_map": "auto"},
            "placed in one way; got device cpu and device_map auto; expected one",
        ),
        ({"device": "cpu", "tensor_parallel": 2}, "got device cpu and tensor_parallel 2"),
        ({"device_map": "auto", "tensor_parallel": 2}, "got device_map auto and tensor_parallel 2"),
        (
            {"device": "cpu", "max_memory": {"cpu": 1}},
            "memory limits are for a model that may be spread; got device cpu",
        ),
        ({"tensor_parallel": 2, "max_memory": {"cpu": 1}}, "memory limits are for .*; got tensor_parallel 2"),
        ({"device_map": "{file}", "max_memory": {"cpu": 1}}, "memory limits are for .*; got device_map "),
        ({"device_map": "{file}", "gpus": (1,)}, "GPUs are given to choose from"),
        ({"device": "cpu", "gpus": (1,)}, "GPUs are given to choose from"),
        ({"device_map": "balanced_low_0", "gpus": (1, 2)}, "balanced_low_0 spares the first GPU"),
        (
            {"load_in": "4bit", "tensor_parallel": 2},
            "cannot be split over processes; .*--device-map auto --load-in 4bit",
        ),
        ({"load_in": "8bit", "device_map": "{file}"}, "stay on the device .*; got a device map with cpu and disk"),
        ({"load_in": "2bit"}, "no such load_in; got 2bit; expected 4bit or 8bit"),
        ({"device_map": "sideways"}, "cannot read the device map sideways"),
        ({"tensor_parallel": 0}, "a number of processes; got 0"),
        ({"dtype": "int3"}, "unknown dtype"),
    ],
)
def test_what_cannot_be_combined_is_one_line(given: dict[str, Any], said: str, tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    file.write_text(json.dumps({"": "cpu", "lm_head": "disk"}))
    line = refusal(Loading(**{name: str(file) if value == "{file}" else value for name, value in given.items()}))
    assert re.search(said, line), line


def test_without_bitsandbytes_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("halfv_core.quantising.is_bitsandbytes_available", lambda: False)
    line = refusal(Loading(load_in="4bit"))
    assert line == "--load-in 4bit needs bitsandbytes, which is not installed; pip install bitsandbytes"


@pytest.mark.usefixtures("bitsandbytes")
def test_a_quantised_checkpoint_is_not_quantised_again(tmp_path: Path) -> None:
    folder = save_checkpoint("llava", tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(HalfVError, match="is quantised already; got weights by gptq; .*leave out --load-in"):
        load_model(str(folder), load_in="4bit")


@pytest.mark.usefixtures("bitsandbytes")
@pytest.mark.parametrize(("dtype", "computes_in"), [("auto", torch.float32), ("bfloat16", torch.bfloat16)])
def test_weights_of_four_bits_are_unpacked_to_the_dtype_of_the_model(dtype: str, computes_in: torch.dtype) -> None:
    found = arguments(Loading(dtype=dtype, load_in="4bit"))["quantization_config"]
    assert (found.load_in_4bit, found.bnb_4bit_quant_type, found.bnb_4bit_use_double_quant) == (True, "nf4", True)
    assert found.bnb_4bit_compute_dtype == computes_in
    assert arguments(Loading(dtype=dtype, load_in="8bit"))["quantization_config"].load_in_8bit


@pytest.mark.usefixtures("bitsandbytes")
def test_the_numbers_of_a_model_say_how_weights_are_packed() -> None:
    model = tiny_model("llava")
    assert numbers_of(model) == "float32"
    for load_in, said in (("4bit", "nf4"), ("8bit", "int8")):
        plain = tiny_model("llava").config
        model.config.quantization_config = quantisation("m", plain, load_in, "auto")
        assert numbers_of(model) == f"float32, weights by bitsandbytes {said}"


@pytest.mark.parametrize(
    ("environment", "got"),
    [
        (
            {},
            "got 1 process; expected 2; type: torchrun --nproc-per-node 2 -m cli.main COMMAND ... --tensor-parallel 2",
        ),
        ({"RANK": "0", "WORLD_SIZE": "4"}, "got 4 processes; expected 2"),
        ({"WORLD_SIZE": "2"}, "got 1 process"),
    ],
)
def test_other_numbers_of_processes(environment: dict[str, str], got: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert got in refusal(Loading(tensor_parallel=2))


def test_each_process_needs_a_gpu(four_gpus: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(name, value)
    assert "takes a GPU for each process; got 4 for 8 processes" in refusal(Loading(tensor_parallel=8))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")  # on two machines
    Loading(tensor_parallel=8).check()


def test_one_process_is_the_whole_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert arguments(Loading(tensor_parallel=1)) == {"dtype": "auto", "device_map": None}


@pytest.mark.parametrize(
    ("family", "count", "said"),
    [
        ("qwen3_vl", 2, "transformers has no tensor-parallel plan for m; got Qwen3VLFor.*; .*--device-map auto"),
        ("qwen2_5_vl", 4, "4 processes cannot share .*; got num_key_value_heads 2; expected --tensor-parallel 2$"),
        ("llava", 3, "got num_attention_heads 4, num_key_value_heads 4; expected --tensor-parallel 2 or 4$"),
    ],
)
def test_a_model_that_cannot_be_split_so_is_one_line(family: str, count: int, said: str) -> None:
    pytest.importorskip("transformers.distributed.tensor_parallel", reason="an older transformers splits otherwise")
    with pytest.raises(ModelError, match=said):
        distributed_config("m", tiny_model(family), count)


def test_an_older_transformers_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def older(**_: Any) -> None:
        raise TypeError("unexpected keyword tp_size")

    monkeypatch.setattr("transformers.distributed.DistributedConfig", older)
    with pytest.raises(ModelError, match="does not split a model over processes; expected 5.23"):
        distributed_config("m", tiny_model("llava"), 2)
