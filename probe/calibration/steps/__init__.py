"""One file for each step of a calibration: what it needs, what one sample costs, how one is measured, how they add up.

Not here: which samples are measured, where, and in what time (the runner), and the order of the steps (calibrate).
"""
