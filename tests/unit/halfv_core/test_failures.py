"""Which exceptions become one line for the user, and which keep their traceback."""

import pytest
import torch
from jinja2 import Environment
from torch import nn

from halfv_core.devices import available_devices, check_device
from halfv_core.errors import DataError, ModelError, RunError
from halfv_core.failures import LESS_MEMORY, failure_of, is_out_of_memory, reason_of


def raised(error: type[Exception], text: str) -> Exception:
    try:
        raise error(text)
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError("unable to mmap 4 bytes from file <x>: Cannot allocate memory (12)"),
        MemoryError(),
        MemoryError("Unable to allocate 3 TiB for an array"),
    ],
)
def test_out_of_memory_says_what_would_need_less(error: Exception) -> None:
    assert is_out_of_memory(error)
    failure = failure_of(error)
    assert isinstance(failure, RunError) and failure.exit_code == 1
    assert str(failure).startswith("out of memory (") and str(failure).endswith(LESS_MEMORY)


def test_the_cpu_itself_runs_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)


def test_other_errors_are_not_about_memory() -> None:
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_what_comes_out_of_a_forward_pass_is_one_line() -> None:
    with pytest.raises(RuntimeError) as caught:
        nn.Sequential(nn.Linear(3, 4), nn.Linear(3, 4))(torch.ones(1, 3))
    failure = failure_of(caught.value)
    assert isinstance(failure, RunError)
    assert str(failure).startswith("the model or its processor failed (RuntimeError: mat1 and mat2 shapes cannot be")


def test_what_comes_out_of_a_template_is_one_line() -> None:
    with pytest.raises(Exception, match="undefined") as caught:
        Environment().from_string("{{ a.b.c }}").render()
    assert isinstance(failure_of(caught.value), RunError)


def test_a_fault_of_this_project_keeps_its_traceback() -> None:
    assert failure_of(raised(KeyError, "layer")) is None


def test_an_error_for_the_user_stays_as_it_is() -> None:
    error = DataError("no samples")
    assert failure_of(error) is error


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "ValueError"),
        ("first\nsecond", "ValueError: first"),
        ("\n  \n late ", "ValueError: late"),
        ("\x1b[31mred\x07", "ValueError: ?[31mred?"),
        ("a" * 400, f"ValueError: {'a' * 285}..."),
    ],
)
def test_a_reason_is_one_printable_line(text: str, shown: str) -> None:
    assert reason_of(ValueError(text)) == shown


@pytest.mark.parametrize("name", available_devices())
def test_the_devices_of_this_machine_are_accepted(name: str) -> None:
    assert str(check_device(name)) == name


@pytest.mark.parametrize("name", ["banana", "", "0", "-1", "meta", "cpu:x", "cuda:99", "mkldnn", "xpu:3", "cuda:-1"])
def test_other_devices_are_refused(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        check_device(name)
    assert str(caught.value).startswith(f"unknown device; got {name}; expected auto or cpu")
