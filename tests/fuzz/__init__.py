"""Damages what the commands read from disk, thousands of times, and looks for anything but a clear end.

    python -m tests.fuzz                                  # all of it; `make fuzz`
    python -m tests.fuzz --only checkpoint --count 50     # the targets whose name begins so, 50 damages each
    python -m tests.fuzz --seed 7 --only curves --from 12 --count 1

What is damaged is in `targets.py`, how in `mutations.py`. A new kind of file that a command reads gets a target.
"""
