"""A process that runs the cases, and one that starts it again when it dies."""

import multiprocessing
import shutil
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from tests.fuzz.campaign import SECONDS, Case, Fault, Target, limit_memory, run_case, save
from tests.fuzz.targets import TARGETS


def campaign(cases: Sequence[Case], failures: Path) -> list[Fault]:
    """Run all cases in a process of their own; a new one goes on after a case that ended it."""
    faults: list[Fault] = []
    done = 0
    while done < len(cases):
        receiver, sender = multiprocessing.Pipe(duplex=False)
        worker = multiprocessing.get_context("spawn").Process(
            target=_work, args=(sender, done, _names(cases), failures)
        )
        worker.start()
        sender.close()
        try:
            while done < len(cases) and receiver.poll(30 * SECONDS):
                fault = receiver.recv()
                faults += _reported(fault, cases[done])
                done += 1
        except EOFError:
            pass
        if done < len(cases):
            worker.kill()
            worker.join()
            faults += _reported(("the process died or hung", f"exit code {worker.exitcode}"), cases[done])
            done += 1
        worker.join()
    return faults


def _names(cases: Sequence[Case]) -> list[tuple[str, int, int]]:
    return [(case.target.name, case.index, case.seed) for case in cases]


def _reported(fault: tuple[str, str] | None, case: Case) -> list[Fault]:
    if fault is None:
        return []
    print(f"{case}: {fault[0]}\n    {case.again}", flush=True)
    return [Fault(case, *fault)]


def _work(sender: Connection, first: int, names: list[tuple[str, int, int]], failures: Path) -> None:
    """Run the cases from the first one on; send None or (kind, details) after each."""
    import torch

    torch.set_num_threads(1)
    targets = {target.name: target for target in TARGETS}
    prepared: dict[str, Path] = {}
    with tempfile.TemporaryDirectory() as root:
        for name, index, seed in names[first:]:
            target = targets[name]
            folder = prepared.get(name) or _prepared(target, Path(root), prepared)
            fault = run_case(Case(target, index, seed), folder)
            if fault is not None:
                save(fault, folder, failures)
            sender.send(fault and (fault.kind, fault.details))


def _prepared(target: Target, root: Path, prepared: dict[str, Path]) -> Path:
    """The folder of a target with its whole files; those of the last one are deleted."""
    for other in prepared.values():
        shutil.rmtree(other)
    prepared.clear()
    folder = prepared[target.name] = root / target.name
    folder.mkdir()
    target.prepare(folder)
    limit_memory()
    return folder
