"""How long a calibration may take: estimates of what is left to do, and what is dropped when it does not fit.

Not here: clocks around single steps (the runner), and FLOPs (halfv_core.cost).
"""
