"""How much faster several processes calibrate and evaluate: measured for two, simulated for more.

    make scaling       # or: python -m data_samples.studies.scaling --model tiny-llava

First the same calibration runs in one process and in two, each with one thread, under torchrun. Then one process runs
it with a clock on every item, and an evaluation likewise; from these times a simulation hands out the items to more
processes, longest prompts first, as the program does. What one process does alone (decisions, resampling) stays as
long; what the first one collects takes as long as the measured throughput of the store says. For a large model all
times of items are multiplied. Writes docs/benchmarks/scaling.json and the table of docs/scale.md.
"""

import heapq
import os
import pickle
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch.distributed import TCPStore

from cli.common import load_quietly, stdout
from data_samples.studies.tables import PAGE, RECORDS, write_table
from halfv_core.devices import processor_name
from halfv_core.files import read_text, write_atomically
from halfv_core.profile import Profile
from halfv_core.records import Record
from probe import calibrate, load_samples
from probe.calibration.settings import Settings
from probe.calibration.step_runner import StepRunner
from probe.common.data_parallel import LONGEST_PAUSE
from probe.common.shared_values import SharedValues
from probe.data.prompt_size import prompt_size
from probe.data.samples import Sample
from probe.evaluation.ablation import ablate
from probe.evaluation.comparison import Comparer

COMMAND = "make scaling"
RECORD = RECORDS / "scaling.json"
SCALE_PAGE = PAGE.with_name("scale.md")
RANKS = (1, 2, 8, 32, 64, 128, 256)
LARGE = 100.0
"""A large model's items take so many times as long."""
QUESTIONS = 3000
"""Of the simulated evaluation."""


class Task(Record):
    """What is measured between two decisions, in the order in which it is handed out."""

    name: str
    seconds: tuple[float, ...]
    """Of each item."""
    bytes: int
    """Of all items together, as they are collected."""


class Scaling(Record):
    """Everything that the table is made of."""

    model: str
    processor: str
    torch: str
    created: str
    measured: dict[int, float]
    """Number of processes -> seconds of the calibration, without loading."""
    calibration: tuple[Task, ...]
    serial: float
    """Seconds of the calibration in which nothing was measured."""
    evaluation: Task
    throughput: float
    """Bytes a second through the store."""


def main(
    model: Annotated[str, typer.Option(help="Bundled or other model.")] = "tiny-qwen2.5-vl",
    samples: Annotated[int, typer.Option(help="Of the calibration.")] = 80,
    certify: Annotated[int, typer.Option(help="Further samples.")] = 120,
    questions: Annotated[int, typer.Option(help="Evaluated ones, whose times stand for all.")] = 60,
) -> None:
    """Measure, simulate, and write the table."""
    measured = {ranks: _under_torchrun(model, samples, certify, ranks) for ranks in (1, 2)}
    torch.set_num_threads(1)
    loaded = load_quietly(model, "auto", "cpu", False)
    settings = Settings(samples=samples, certify=certify)
    began = time.monotonic()
    with _clocked(StepRunner, "_measure") as items:
        profile = calibrate(loaded.model, loaded.processor, load_samples("scenes"), settings, model_id=model)
    whole = time.monotonic() - began
    calibration = _tasks(items)
    asked = load_samples("scenes-heldout")[:questions]
    with _clocked(Comparer, "compare") as items:
        ablate(loaded.model, loaded.processor, asked, profile)
    found = Scaling(
        model=model,
        processor=processor_name(),
        torch=torch.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        measured=measured,
        calibration=calibration,
        serial=whole - sum(map(sum, (task.seconds for task in calibration))),
        evaluation=_tasks([("evaluation", *item[1:]) for item in items])[0],
        throughput=_throughput(),
    )
    write_atomically(RECORD, found.model_dump_json(indent=1) + "\n")
    write_table(COMMAND, table(found), SCALE_PAGE)
    stdout.print(read_text(SCALE_PAGE).split(f"<!-- table: {COMMAND} -->\n")[1], markup=False, highlight=False)


def table(found: Scaling) -> str:
    """The table of the page, Markdown."""
    one, two = (found.measured[ranks] for ranks in (1, 2))
    generator = random.Random(0)
    task = found.evaluation
    drawn = generator.choices(task.seconds, k=QUESTIONS)
    asked = task.model_copy(update={"seconds": tuple(drawn), "bytes": task.bytes * QUESTIONS // len(task.seconds)})
    times = {
        (name, factor, ranks): simulated(tasks, serial, found.throughput, ranks, factor)
        for name, tasks, serial in (("calibration", found.calibration, found.serial), ("evaluation", [asked], 0.0))
        for factor in (1.0, LARGE)
        for ranks in RANKS
    }
    columns = [(name, factor) for name in ("calibration", "evaluation") for factor in (1.0, LARGE)]
    rows = [
        f"Measured with `{found.model}`, one thread each: {one:.0f} s in one process, {two:.0f} s in two "
        f"(efficiency {one / two / 2:.0%}; {found.processor}, torch {found.torch}, {found.created[:10]}).",
        "Simulated from its items:",
        "",
        "| processes | calibration | calibration, large model | evaluation | evaluation, large model |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for ranks in RANKS:
        cells = []
        for name, factor in columns:
            speedup = times[name, factor, 1] / times[name, factor, ranks]
            cells.append(f"{speedup:.1f}x ({speedup / ranks:.0%})")
        rows.append(f"| {ranks} | {' | '.join(cells)} |")
    return "\n".join([*rows, ""])


def simulated(tasks: Sequence[Task], serial: float, throughput: float, ranks: int, factor: float = 1.0) -> float:
    """Seconds of work that `ranks` processes do together.

    Args:
        serial: seconds of what the first process does alone.
        throughput: bytes a second that it can collect.
        factor: items take so many times as long.
    """
    waiting = 0.0 if ranks == 1 else LONGEST_PAUSE
    collected = 0.0 if ranks == 1 else sum(task.bytes for task in tasks) / throughput
    return serial + collected + sum(waiting + makespan([factor * one for one in task.seconds], ranks) for task in tasks)


def makespan(seconds: Sequence[float], ranks: int) -> float:
    """When the last of the items is finished, each of which is taken by the process that is free first."""
    free = [0.0] * ranks
    for one in seconds:
        heapq.heapreplace(free, free[0] + one)
    return max(free)


def _under_torchrun(model: str, samples: int, certify: int, ranks: int) -> float:
    """Seconds of a calibration in some processes with one thread each, loading apart."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "profile.json"
        start = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m", "cli.main", "calibrate"]
        amount = ["--samples", str(samples), "--certify", str(certify)]
        command = [sys.executable, "-m", *start, "--model", model, "--device", "cpu", *amount, "--output", str(output)]
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
        return Profile.load(output).provenance.seconds


@contextmanager
def _clocked(owner: type, name: str) -> Iterator[list[tuple[str, float, float, int]]]:
    """Inside the block, note for each item its task, size of prompt, seconds and bytes."""
    method, items = getattr(owner, name), []

    def clocked(self: Any, step: Any, sample: Sample) -> Any:
        began = time.monotonic()
        item = method(self, step, sample)
        seconds = time.monotonic() - began
        items.append((getattr(step, "key", ""), prompt_size(sample), seconds, len(pickle.dumps(item))))
        return item

    setattr(owner, name, clocked)
    try:
        yield items
    finally:
        setattr(owner, name, method)


def _tasks(items: Sequence[tuple[str, float, float, int]]) -> tuple[Task, ...]:
    names = list(dict.fromkeys(name for name, *_ in items))
    grouped = [sorted((item for item in items if item[0] == name), key=lambda item: -item[1]) for name in names]
    return tuple(
        Task(name=name, seconds=tuple(item[2] for item in own), bytes=sum(item[3] for item in own))
        for name, own in zip(names, grouped, strict=True)
    )


def _throughput(size: int = 2**24) -> float:
    """Bytes a second into a store and out of it again, on this machine."""
    server = TCPStore("127.0.0.1", 0, None, True, timedelta(seconds=30))
    values, value = SharedValues(server), os.urandom(size)
    began = time.monotonic()
    values.put("value", value)
    values.take("value")
    return size / (time.monotonic() - began)


if __name__ == "__main__":
    typer.run(main)
