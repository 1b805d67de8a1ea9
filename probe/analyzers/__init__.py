"""One measurement a file: its formula, its source and its cost.

Not here: where the tensors come from (capture), and what a calibration does with the numbers (calibration, stages).
"""
