"""The command line of the campaign."""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.campaign import Case
from tests.fuzz.targets import TARGETS
from tests.fuzz.worker import campaign


def main() -> int:
    """Run the campaign; returns 1 if it found a fault."""
    options = _options()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    failures = Path(options.failures or tempfile.mkdtemp(prefix="fuzz-"))
    chosen = [target for target in TARGETS if target.name.startswith(options.only)]
    cases = [
        Case(target, index, seed)
        for target in chosen
        for index in range(options.start, options.start + (options.count or target.count))
    ]
    print(f"{len(cases)} damages of {len(chosen)} kinds of files, seed {seed}; failures go to {failures}", flush=True)
    began = time.monotonic()
    faults = campaign(cases, failures)
    for kind, number in Counter((fault.case.target.name, fault.kind) for fault in faults).most_common():
        print(f"{number:5} x {': '.join(kind)}")
    print(f"{len(faults)} faults in {len(cases)} damages, {time.monotonic() - began:.0f} s, seed {seed}")
    return int(bool(faults))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seed", type=int, help="[default: drawn and printed]")
    parser.add_argument("--only", default="", help="targets whose name begins so")
    parser.add_argument("--count", type=int, help="damages of each target")
    parser.add_argument("--from", type=int, default=0, dest="start", help="index of the first damage")
    parser.add_argument("--failures", help="folder for damaged files that were a fault")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
