"""The steps of a calibration, one per file: what a step needs, what a sample costs, how it is measured and combined.

Not here: which samples are measured, where, and in what time (the runner), and the order of the steps (calibrate).
"""
