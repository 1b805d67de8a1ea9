"""Processes that share the samples find what one process finds, and go on from what any number of them has measured.

The processes do all the work of this file in one go, since starting them takes longer than the work.
"""

import json
import threading
import time
from collections import Counter
from copy import deepcopy
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from torch import distributed

from halfv_core import HalfVError, Plan
from halfv_core.models import LoadedModel, load_model
from probe import calibrate_in_full, load_samples
from probe.analysis.analyze import analyze
from probe.calibration.calibrate import Settings
from probe.calibration.step_runner import StepRunner
from probe.calibration.steps.curves import Curves
from probe.common.data_parallel import ALONE, DataParallel
from probe.common.journals import discard
from probe.data import download
from probe.data.samples import Sample
from probe.evaluation.ablation import ablate
from probe.evaluation.evaluate import evaluate
from probe.evaluation.methods import compare_methods
from probe.evaluation.methods.tuning import TuningSet
from tests.checkpoints import save_checkpoint
from tests.offloading import OFFLOADED, Offload
from tests.ranks import on_ranks
from tests.unit.probe.calibration.test_calibrate import write_samples
from tests.unit.probe.data.test_download import noise
from tests.unit.probe.evaluation.methods.test_compare import timeless as timeless_methods
from tests.unit.probe.evaluation.test_ablation import timeless as timeless_ablation
from tests.unit.probe.evaluation.test_ablation import tiny_profile

SETTINGS = Settings(
    samples=6, held_out=0.34, certify=2, max_new_tokens=3, entropy_k=5, target_flops=1.5, keep_ratios=(0.5,), examples=2
)


def team(name: str, size: int) -> DataParallel:
    """The first processes, as those of a run of their own."""
    return DataParallel(distributed.PrefixStore(name, common_store()), distributed.get_rank(), size)


@cache
def common_store() -> distributed.Store:
    """A store like torchrun's, at the first process."""
    server = distributed.TCPStore("127.0.0.1", 0, None, True) if distributed.get_rank() == 0 else None
    port = [server and server.port]
    distributed.broadcast_object_list(port)
    return server or distributed.TCPStore("127.0.0.1", port[0], None, False)


def loaded_from(folder: Path) -> LoadedModel:
    return load_model(str(folder / "checkpoint"), device="cpu")


def calibrated(
    folder: Path, data_parallel: DataParallel, name: str, offload: Offload | None = None, **changes: Any
) -> dict[str, Any]:
    """Profile and observations, with the journal kept."""
    model, processor, _ = loaded_from(folder)
    if offload is not None:
        model = offload(model, folder / f"weights of {data_parallel.rank}")
    settings, told = SETTINGS.model_copy(update=changes), []
    found = calibrate_in_full(
        model,
        processor,
        load_samples(folder / "data.jsonl"),
        settings,
        model_id="m",
        journal=folder / f"{name}.unfinished",
        on_progress=lambda *step: told.append(step),
        data_parallel=data_parallel,
    )
    data_parallel.leave()
    assert bool(told) == data_parallel.is_first
    profile, observations = (one.model_dump(mode="json") for one in found)
    return {"profile": profile, "observations": observations, "progress": told}


def timeless(found: dict[str, Any]) -> dict[str, Any]:
    times = {"created": "", "seconds": 0.0, "seconds_by_step": {}}
    profile, observations = deepcopy(found["profile"]), found["observations"]
    return {
        "profile": profile | {"provenance": profile["provenance"] | times},
        "observations": observations | {"created": ""},
    }


def with_references(folder: Path) -> list[Sample]:
    return [sample for sample in load_samples(folder / "data.jsonl") if sample.answers]


def evaluated(folder: Path, data_parallel: DataParallel) -> dict[str, Any]:
    """Everything but a calibration."""
    model, processor, _ = loaded_from(folder)
    samples = with_references(folder)[:6]
    profile = tiny_profile(model)
    given = {"max_new_tokens": 3, "data_parallel": data_parallel}
    compared = compare_methods(
        model, processor, samples, budgets=(1.5,), methods=("random", "fastv"), batch=2, **given,
        tuning=TuningSet(samples[2:], "data.jsonl"),
    )  # fmt: skip
    analysis = analyze(model, processor, samples, probes=("shares", "lens"), examples=1, count=5, **given)
    analysed = analysis.model_dump(mode="json")
    for name in ("created", "seconds", "seconds_by_step"):
        del analysed["provenance"][name]
    return {
        "evaluation": evaluate(model, processor, samples, Plan(()), **given)._asdict(),
        "ablation": timeless_ablation(ablate(model, processor, samples, profile, **given)),
        "methods": timeless_methods(compared),
        "analysis": analysed,
    }


def cut(journal: Path, share: float) -> int:
    """Keep the first part of each process's journal, as a run that was killed leaves it; how many items are left."""
    names = set()
    for path in journal.parent.glob(f"{journal.name}*"):
        lines = path.read_bytes().splitlines(keepends=True)
        kept = lines[: 1 + int(share * len(lines))]
        path.write_bytes(b"".join(kept) + b'{"name": "half')
        names |= {json.loads(line).get("name") for line in kept[1:]}
    return len(names)


def lines(journal: Path) -> int:
    """Number of items in a journal."""
    return journal.read_bytes().count(b"\n") - 1


def refusal(run: Any) -> str:
    with pytest.raises(HalfVError) as raised:
        run()
    return str(raised.value)


def work(folder: Path) -> dict[str, Any]:
    """What one of the three processes finds."""
    rank, results = distributed.get_rank(), {}
    if rank == 1:
        measure = StepRunner._measure

        def slowly(*given: Any) -> Any:
            time.sleep(0.5)
            return measure(*given)

        StepRunner._measure = slowly  # type: ignore[method-assign]
    results["three"] = calibrated(folder, team("three", 3), "three")
    if rank == 1:
        StepRunner._measure = measure  # type: ignore[method-assign]
    distributed.barrier()
    results["measured"] = [lines(folder / f"three.unfinished{end}") for end in ("", ".rank1", ".rank2")]
    if rank < 2:
        results["two"] = calibrated(folder, team("two", 2), "two", budget=600.0)
        results["offloaded"] = calibrated(folder, team("offloaded", 2), "offloaded", OFFLOADED["last layers"])
    else:
        results["one"] = calibrated(folder, ALONE, "one", budget=600.0)
        cut(folder / "one.unfinished", 0.5)
    distributed.barrier()
    results["one on three"] = calibrated(folder, team("resume", 3), "one", budget=600.0)
    results["evaluated"] = evaluated(folder, team("evaluated", 3))
    results["downloads"] = downloads(team("downloads", 3))
    other = {"model": "other"} if rank == 1 else {}
    results["another"] = refusal(lambda: checked(team("another", 3), {"model": "m"} | other))
    results["failed"] = refusal(lambda: failing(folder, rank))
    return results


def downloads(data_parallel: DataParallel) -> dict[str, Any]:
    """What all processes of two machines download at once, the third process being alone on the second machine."""
    rank, asked = data_parallel.rank, list[str]()

    class Pictures(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            time.sleep(0.5)
            self.send_response(200)
            self.send_header("Content-Length", str(len(noise())))
            self.end_headers()
            self.wfile.write(noise())

        def log_message(self, *given: Any) -> None:
            """Print nothing."""

    download.is_public = lambda address: True  # type: ignore[assignment]
    data_parallel.machine, data_parallel.local_rank = divmod(rank, 2)
    with ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = data_parallel.tell(server.server_port)
        download.use_folder(data_parallel.of_machine(download.folder))
        found = [download.download(f"http://127.0.0.1:{port}/{number}.png") == noise() for number in range(2)]
        data_parallel.collect(None)
        server.shutdown()
    return {"asked": asked, "found": found}


def checked(data_parallel: DataParallel, given: dict[str, str]) -> None:
    with data_parallel.together():
        data_parallel.check_same(given)
        data_parallel.tell()


def failing(folder: Path, rank: int) -> None:
    """A calibration in which the second process meets an error; the others wait until it has a sample."""
    measure, reached = Curves.measure, "the second process has a sample"

    def fail(*given: Any) -> Any:
        if rank == 1:
            common_store().set(reached, "")
            raise HalfVError("no luck with this sample")
        common_store().wait([reached])
        return measure(*given)

    Curves.measure = fail  # type: ignore[method-assign]
    try:
        calibrated(folder, team("failing", 3), "failing")
    finally:
        Curves.measure = measure  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data parallel")
    save_checkpoint("llava", folder / "checkpoint")
    write_samples(folder)
    return folder


@pytest.fixture(scope="module")
def ranks(folder: Path) -> list[dict[str, Any]]:
    return on_ranks(f"{__name__}:work", folder, ranks=3)


def test_all_find_what_one_process_finds(ranks: list[dict[str, Any]]) -> None:
    alone = timeless(ranks[2]["one"])
    of_two = (one[name] for one in ranks[:2] for name in ("two", "offloaded"))
    for found in (*(one["three"] for one in ranks), *of_two):
        profile = timeless(found)
        profile["profile"]["provenance"]["arguments_resolved"]["budget"] = 600.0
        assert json.dumps(profile) == json.dumps(alone)


def test_a_run_goes_on_with_another_number_of_processes(
    ranks: list[dict[str, Any]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for found in ranks:
        assert json.dumps(timeless(found["one on three"])) == json.dumps(timeless(ranks[2]["one"]))
    kept, computed = cut(folder / "three.unfinished", 0.5), []
    measure = StepRunner._measure
    monkeypatch.setattr(StepRunner, "_measure", lambda *given: computed.append(given[1].key) or measure(*given))
    again = calibrated(folder, ALONE, "three")
    assert json.dumps(timeless(again)) == json.dumps(timeless(ranks[0]["three"]))
    total = sum(1 for step, done, _ in again["progress"] if done)
    assert kept > 8 and len(computed) - computed.count("self-checks") == total - kept
    discard(folder / "three.unfinished")
    assert not list(folder.glob("three.unfinished*"))


def test_all_processes_measure_and_a_slow_one_measures_less(ranks: list[dict[str, Any]]) -> None:
    measured = ranks[0]["measured"]
    assert all(measured) and measured[1] < max(measured)
    progress = Counter(step for step, done, _ in ranks[0]["three"]["progress"] if done)
    assert progress["curves"] == 4 and progress["held-out answers"] == 4
    assert sum(measured) == progress.total()


def test_evaluations_and_analyses_are_those_of_one_process(ranks: list[dict[str, Any]], folder: Path) -> None:
    alone = json.loads(json.dumps(evaluated(folder, ALONE)))
    for found in ranks:
        for name, result in alone.items():
            assert found["evaluated"][name] == result, name


def test_an_image_is_downloaded_once_on_each_machine(ranks: list[dict[str, Any]]) -> None:
    assert all(all(found["downloads"]["found"]) for found in ranks)
    assert Counter(ranks[0]["downloads"]["asked"]) == {"/0.png": 2, "/1.png": 2}


def test_a_failure_in_one_process_ends_all_and_names_it(ranks: list[dict[str, Any]]) -> None:
    assert ranks[1]["failed"] == "no luck with this sample"
    assert ranks[0]["failed"] == ranks[2]["failed"] == "rank 1 of 3: no luck with this sample"


def test_processes_that_were_given_something_else_are_named(ranks: list[dict[str, Any]]) -> None:
    assert "rank 1 of 3 has another model; got other; expected that of rank 0, m" in ranks[0]["another"]
