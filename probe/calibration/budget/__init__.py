"""How long a calibration may take: estimates of the remaining work, and what is dropped if it does not fit.

Not here: the timing of single steps (the runner), and FLOPs (halfv_core.cost).
"""
