"""Several real processes that run one model together: torch.distributed with gloo on the CPU.

results = on_ranks("tests.some_module:function", folder)    # what function(folder) returned in each process, as JSON

    python -m tests.ranks MODULE:FUNCTION FOLDER RANK RANKS     # one of the processes
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import distributed

ROOT = Path(__file__).parents[1]
SECONDS = 600
"""Longest run, on a machine with other work."""


def on_ranks(work: str, folder: Path, ranks: int = 2) -> list[Any]:
    """Run a function in several processes and return what it returned in each of them.

    Args:
        work: `module:function`; it takes the folder.
        folder: for the function's files and the results.
    """
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    arguments = [sys.executable, "-W", "ignore", "-m", "tests.ranks", work, str(folder)]
    with tempfile.TemporaryFile("w+") as output:
        running = [
            subprocess.Popen(
                [*arguments, str(rank), str(ranks)], cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
            for rank in range(ranks)
        ]
        try:
            deadline = time.monotonic() + SECONDS
            while any(process.poll() is None for process in running) and time.monotonic() < deadline:
                if any(process.returncode for process in running):
                    break  # the others wait for the one that failed
                time.sleep(0.1)
        finally:
            for process in running:
                process.kill()
                process.wait()
        output.seek(0)
        assert [process.returncode for process in running] == [0] * ranks, output.read()[-5000:]
    return [json.loads((folder / f"result{rank}.json").read_text()) for rank in range(ranks)]


def main(work: str, folder: str, rank: str, ranks: str) -> None:
    torch.set_num_threads(1)
    module, _, function = work.partition(":")
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{Path(folder).resolve()}/rendezvous",
        rank=int(rank),
        world_size=int(ranks),
        timeout=timedelta(seconds=SECONDS),
    )
    result = getattr(import_module(module), function)(Path(folder))
    Path(folder, f"result{rank}.json").write_text(json.dumps(result))
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
