"""Decoding that is compiled at start: the same answers, nothing to compile in later requests, and what cannot be."""

import json
import warnings
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters
from transformers import CompileConfig

from halfv_core import Keep, Plan, apply
from halfv_core.errors import UnsupportedError
from halfv_core.models import LoadedModel, load_model
from tests.checkpoints import save_checkpoint
from tests.serving import answered_by, answers_here, chat

pytest.importorskip("openai")
pytest.importorskip("uvicorn")

from probe.serving.compiling import compile_decoding  # noqa: E402 - after what it needs
from probe.serving.prepare import RequestOptions  # noqa: E402
from probe.serving.service import Service  # noqa: E402

PLAN = Plan([Keep(layer=1, keep_ratio=0.4)])
ASKED = [("w8 w9 w10 w11", "heldout-000"), ("w3",), ("w4 w5", "heldout-001", "heldout-002"), ("w6 w8",)]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(str(save_checkpoint("llava", tmp_path_factory.mktemp("llava"))), device="cpu")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Graphs are made as ever, and run as they are."""
    compile_with(monkeypatch, "eager")
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.compile's own
        yield


def compile_with(monkeypatch: pytest.MonkeyPatch, backend: Any) -> None:
    settings = CompileConfig(backend=backend, mode=None)  # type: ignore[arg-type]
    settings._compile_all_devices = True
    monkeypatch.setattr("probe.serving.prepare.compile_config", lambda device: settings)


@pytest.mark.slow
@pytest.mark.parametrize("plan", [PLAN, Plan(())], ids=["plan", "none"])
def test_requests_are_answered_as_ever_and_compile_nothing(loaded: LoadedModel, plan: Plan) -> None:
    expected = answers_here(loaded, plan, ASKED, 6)
    with apply(loaded.model, plan) as run:
        service = Service(loaded, run, RequestOptions(compile=True), Event())
        assert compile_decoding(service) > 0
        graphs = counters["stats"]["unique_graphs"]
        for (question, *scenes), answer in zip(ASKED, expected, strict=True):
            body = {"model": loaded.name, "messages": chat(question, *scenes), "max_tokens": 6, "temperature": 0}
            reply = answered_by(service, "/v1/chat/completions", json.dumps(body).encode())[0].json()
            assert reply["choices"][0]["message"]["content"].strip() == answer
        service.close()
    assert counters["stats"]["unique_graphs"] == graphs


def test_a_cache_that_is_too_long_for_memory_is_not_asked_for_again(loaded: LoadedModel) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("not enough memory")

    def statuses(service: Service, *lengths: int) -> list[int]:
        bodies = [{"model": loaded.name, "messages": chat("w8"), "max_tokens": length} for length in lengths]
        sent = [json.dumps(body).encode() for body in bodies]
        return [answered_by(service, "/v1/chat/completions", body)[0].status_code for body in sent]

    with apply(loaded.model, PLAN) as run:
        service = Service(loaded, run, RequestOptions(compile=True), Event())
        handle = loaded.model.lm_head.register_forward_pre_hook(fail)
        assert statuses(service, 400) == [500]
        handle.remove()
        assert statuses(service, 2) == [200]
        service.close()
    assert loaded.model._previous_max_cache_length < 100


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (Plan([Keep(layer=1, keep_ratio=0.5, positions="renumbered")]), "nothing of decoding can be compiled"),
        (PLAN, r"decoding cannot be compiled \(.*no compiler.*\); leave out --compile"),
    ],
    ids=["plan", "compiler"],
)
def test_what_cannot_be_compiled_is_refused_at_start(
    loaded: LoadedModel, plan: Plan, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise OSError("no compiler")

    compile_with(monkeypatch, fail)
    with apply(loaded.model, plan) as run, pytest.raises(UnsupportedError, match=reason):
        compile_decoding(Service(loaded, run, RequestOptions(compile=True), Event()))
